"""The list of data sets, and the form that uploads one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.ids import DatasetId
from api.transactions import Transaction
from api.web.cursors import Cursor, as_id, given
from api.web.templates import render
from api.web.visitors import Visited
from persistence import datasets

router = APIRouter(include_in_schema=False)

_PAGE = 50


@router.get("/datasets")
def dataset_list(
    request: Request, session: Transaction, visitor: Visited, after: Annotated[Cursor, Query()] = ""
) -> Response:
    """All data sets, newest first; for htmx only the rows."""
    page = datasets.list_page(session, visitor.tenant_id, after=as_id(after), limit=_PAGE)
    part = "datasets/rows.html" if request.headers.get("HX-Request") else "datasets/list.html"
    more = f"/datasets?{given(after=page.next)}" if page.has_more else None
    return render(request, part, datasets=page.rows, more=more)


@router.get("/datasets/{dataset_id}/row")
def dataset_row(request: Request, session: Transaction, visitor: Visited, dataset_id: DatasetId) -> Response:
    """One row of the list, which asks for itself again while the data set is being checked."""
    return render(
        request, "datasets/rows.html", datasets=[datasets.get(session, visitor.tenant_id, dataset_id)], more=None
    )
