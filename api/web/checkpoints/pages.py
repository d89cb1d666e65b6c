"""The list of checkpoints with the form that uploads one, and the page of each."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from api.ids import CheckpointId
from api.transactions import Transaction
from api.web.cursors import Cursor, as_id, given
from api.web.templates import render
from api.web.visitors import Changing, Visited
from masktune_core.config import ARCHITECTURES
from persistence import checkpoints

router = APIRouter(include_in_schema=False)

_PAGE = 50
_KEYS = 100
"""Keys that do not fit that are shown of each kind; a report lists no more of them."""


@router.get("/checkpoints")
def checkpoint_list(
    request: Request, session: Transaction, visitor: Visited, after: Annotated[Cursor, Query()] = ""
) -> Response:
    """All checkpoints, newest first; for htmx only the rows."""
    page = checkpoints.list_page(session, visitor.tenant_id, after=as_id(after), limit=_PAGE)
    part = "checkpoints/rows.html" if request.headers.get("HX-Request") else "checkpoints/list.html"
    more = f"/checkpoints?{given(after=page.next)}" if page.has_more else None
    return render(request, part, checkpoints=page.rows, more=more, architectures=ARCHITECTURES)


@router.get("/checkpoints/{checkpoint_id}/row")
def checkpoint_row(request: Request, session: Transaction, visitor: Visited, checkpoint_id: CheckpointId) -> Response:
    """One row of the list, which asks for itself again while the checkpoint is being checked."""
    row = checkpoints.get(session, visitor.tenant_id, checkpoint_id)
    return render(request, "checkpoints/rows.html", checkpoints=[row], more=None)


@router.get("/checkpoints/{checkpoint_id}")
def checkpoint_page(request: Request, session: Transaction, visitor: Visited, checkpoint_id: CheckpointId) -> Response:
    """Its state, and where its keys do not fit."""
    checkpoint = checkpoints.get(session, visitor.tenant_id, checkpoint_id)
    return render(request, "checkpoints/page.html", checkpoint=checkpoint, shown_keys=_KEYS)


@router.get("/checkpoints/{checkpoint_id}/state")
def checkpoint_state(request: Request, session: Transaction, visitor: Visited, checkpoint_id: CheckpointId) -> Response:
    """How the check goes; once it is over, htmx is told to load the page again."""
    checkpoint = checkpoints.get(session, visitor.tenant_id, checkpoint_id)
    response = render(request, "checkpoints/state.html", checkpoint=checkpoint)
    if checkpoint.status != "validating":
        response.headers["HX-Refresh"] = "true"
    return response


@router.post("/checkpoints/{checkpoint_id}/delete")
def delete_checkpoint(session: Transaction, visitor: Changing, checkpoint_id: CheckpointId) -> Response:
    """Delete it, and go back to the list."""
    checkpoints.delete(session, visitor.tenant_id, checkpoint_id)
    return RedirectResponse("/checkpoints", status_code=303)
