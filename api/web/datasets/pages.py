"""The page of one data set."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from api.ids import DatasetId
from api.readiness import require_dataset
from api.text import Printable
from api.transactions import Transaction
from api.web.cursors import given
from api.web.datasets.view import counts, how_many, split_order, tile
from api.web.templates import render
from api.web.visitors import Changing, Visited
from persistence import datasets, jobs
from persistence.tables import Dataset

router = APIRouter(include_in_schema=False)

_TILES = 60
_JOBS = 10
MOST_ROWS: Final = 100
"""Of the groups and of the classes on the page, unless all are asked for."""
MOST_VALUES: Final = 50
"""Of each attribute."""

Split = Annotated[Printable, Query(max_length=100)]
Number = Annotated[int | None, Query(ge=0, le=2**31 - 1)]


@router.get("/datasets/{dataset_id}")
def dataset_page(
    request: Request,
    session: Transaction,
    visitor: Visited,
    dataset_id: DatasetId,
    rows: Literal["some", "all"] = "some",
) -> Response:
    """Its state, its report, the jobs on it and its images; `rows` of the tables of groups and classes."""
    dataset = datasets.get(session, visitor.tenant_id, dataset_id)
    values: dict[str, Any] = {"dataset": dataset}
    if dataset.status == "ready":
        splits = _splits(dataset)
        split = "train" if "train" in splits else ""
        values |= {"splits": splits, "most_values": MOST_VALUES}
        most = None if rows == "all" else MOST_ROWS
        values |= {"classes": counts(dataset, "classes", most), "groups": counts(dataset, "groups", most)}
        values |= _tiles(session, dataset, split=split)
        page = jobs.list_page(session, visitor.tenant_id, dataset_id=dataset.id, limit=_JOBS)
        values |= {"jobs": page.rows, "more_jobs": page.has_more}
    return render(request, "datasets/page.html", **values)


@router.get("/datasets/{dataset_id}/state")
def dataset_state(request: Request, session: Transaction, visitor: Visited, dataset_id: DatasetId) -> Response:
    """How the check goes; once it is over, htmx is told to load the page again."""
    dataset = datasets.get(session, visitor.tenant_id, dataset_id)
    response = render(request, "datasets/state.html", dataset=dataset)
    if dataset.status != "validating":
        response.headers["HX-Refresh"] = "true"
    return response


@router.get("/datasets/{dataset_id}/tiles")
def dataset_tiles(
    request: Request,
    session: Transaction,
    visitor: Visited,
    dataset_id: DatasetId,
    split: Split = "",
    label: Annotated[str, Query(pattern="^[0-9]{0,9}$")] = "",
    after: Number = None,
) -> Response:
    """Some images of a split and class, for the grid; without script a page of its own."""
    dataset = require_dataset(datasets.get(session, visitor.tenant_id, dataset_id))
    found = _tiles(session, dataset, split=split, label=int(label) if label else None, after=after)
    if not request.headers.get("HX-Request"):
        return render(request, "datasets/images.html", dataset=dataset, splits=_splits(dataset), **found)
    return render(
        request, "datasets/tiles.html" if after is not None else "datasets/filtered.html", dataset=dataset, **found
    )


@router.post("/datasets/{dataset_id}/delete")
def delete_dataset(session: Transaction, visitor: Changing, dataset_id: DatasetId) -> Response:
    """Delete it, and go back to the list."""
    datasets.delete(session, visitor.tenant_id, dataset_id)
    return RedirectResponse("/datasets", status_code=303)


def _splits(dataset: Dataset) -> list[str]:
    return sorted((dataset.summary or {}).get("splits", {}), key=split_order)


def _tiles(
    session: Transaction, dataset: Dataset, *, split: str, label: int | None = None, after: int | None = None
) -> dict[str, Any]:
    page = datasets.images_page(session, dataset.id, split=split or None, label=label, after=after, limit=_TILES)
    following = given(split=split, label=label, after=page.next)
    return {
        "tiles": [tile(dataset, image) for image in page.rows],
        "more": f"/datasets/{dataset.id}/tiles?{following}" if page.has_more else None,
        "total": how_many(dataset, split=split, label=label) or None,
        "split": split,
        "label": label,
    }
