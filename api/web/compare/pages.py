"""The page that compares two jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.samples.reading import dataset_of, names_of
from api.transactions import Transaction
from api.web.choices import MOST, with_named
from api.web.compare.view import Input, areas, paired, settings_that_differ, unshared
from api.web.cursors import Cursor, as_id, given
from api.web.formats import short
from api.web.jobs.start import initial_sha256, start_of
from api.web.results.figures import split_figures
from api.web.results.reading import Result, read_results
from api.web.templates import render
from api.web.visitors import Visited, Visitor
from persistence import differences, jobs
from persistence.tables import Job

router = APIRouter(include_in_schema=False)

_TILES = 24

TwoJobs = Annotated[list[Cursor], Query(max_length=20)]
After = Annotated[int | None, Query(ge=0, le=2**31 - 1)]


async def _results_of(request: Request, job: TwoJobs = []) -> Mapping[UUID, Result]:  # noqa: B006 - FastAPI copies it
    wanted = [id_ for id_ in map(as_id, job) if id_ is not None]
    return await read_results(request, wanted) if len(wanted) == 2 else {}


Results = Annotated[Mapping[UUID, Result], Depends(_results_of)]


@router.get("/compare")
def compare_page(
    request: Request,
    results: Results,
    session: Transaction,
    visitor: Visited,
    job: TwoJobs = [],  # noqa: B006 - FastAPI copies the default
) -> Response:
    """Metrics of two jobs side by side; with fewer or more than two, a form to choose them."""
    finished = jobs.list_page(session, visitor.tenant_id, status="succeeded", limit=MOST).rows
    wanted = [jobs.get(session, visitor.tenant_id, id_) for id_ in map(as_id, job) if id_ is not None]
    values: dict[str, Any] = {
        "choices": with_named(finished, wanted),
        "chosen": [row.id for row in wanted],
        "pair": None,
    }
    if len(wanted) == 2:
        values |= _pair(session, wanted, [results.get(job.id) for job in wanted])
    return render(request, "compare/page.html", **values)


@router.get("/compare/samples")
def compare_samples(
    request: Request,
    session: Transaction,
    visitor: Visited,
    first: Cursor,
    second: Cursor,
    after: After = None,
) -> Response:
    """Images whose final prediction differs, some at a time; the first part counts them. Without script, as a page."""
    one, other = (_job(session, visitor, text) for text in (first, second))
    page = differences.page(session, one.id, other.id, after=after, limit=_TILES)
    sets = [dataset_of(session, job) for job in (one, other)]
    following = given(first=one.id, second=other.id, after=page.next)
    values: dict[str, Any] = {
        "first": one,
        "second": other,
        "rows": page.rows,
        "more": f"/compare/samples?{following}" if page.has_more else None,
        "classes": names_of(session, one, sets[0]).classes,
        "pictures": None not in sets,
    }
    part = "compare/tiles.html"
    if after is None:
        part = "compare/samples.html"
        values["counts"] = differences.counts(session, one.id, other.id)
    return render(request, part if request.headers.get("HX-Request") else "compare/images.html", **values)


def _job(session: Session, visitor: Visitor, text: str) -> Job:
    return jobs.get(session, visitor.tenant_id, as_id(text) or UUID(int=0))


def _pair(session: Session, pair: Sequence[Job], results: Sequence[Result | None]) -> dict[str, Any]:
    first, second = pair
    figures = [split_figures(result) if result else [] for result in results]
    found = [areas(result) if result else {} for result in results]
    hashes = [(job.manifest or {}).get("dataset_sha256") for job in (first, second)]
    sets = [dataset_of(session, job) for job in pair]
    set_names = [dataset.name if dataset else "a data set that was deleted" for dataset in sets]
    inputs = (
        Input("Data set", *(_with_hash(*each) for each in zip(set_names, hashes, strict=True)), *hashes),
        Input("Started from", *(start_of(session, job) for job in pair), *(initial_sha256(job) for job in pair)),
    )
    return {
        "pair": (first, second),
        "missing": [job.name for job, result in zip((first, second), results, strict=True) if result is None],
        "splits": paired(figures[0], figures[1], (found[0], found[1])),
        "settings": settings_that_differ(first.config, second.config),
        "same_images": hashes[0] is not None and hashes[0] == hashes[1],
        "set_names": set_names,
        "inputs": [each for each in inputs if each.differs],
        "unshared": unshared(*figures),
    }


def _with_hash(name: str, sha256: str | None) -> str:
    return f"{name} ({short(sha256)})" if sha256 else name
