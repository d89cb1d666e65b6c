"""What a job found on each image: written with COPY, read in keyset pages."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, delete, func, literal, select, true, tuple_
from sqlalchemy.orm import Session, aliased, defer

from persistence import leases, sample_counts
from persistence.copying import copy_rows
from persistence.errors import NotFound
from persistence.pages import Page, cut
from persistence.sample_filters import AFTER, BEFORE, EVERYTHING, SampleFilters
from persistence.tables import Job, Sample, SampleCount

__all__ = ["SampleFilters", "Sort", "copy_in", "get", "page"]

Sort = Literal["index", "masked_fraction", "confidence_drop", "heatmap_distance"]

_TYPES: Final = {
    "job_id": "uuid",
    "index": "int4",
    "split": "text",
    "label": "int4",
    "group": "int4",
    "predicted_before": "int4",
    "confidence_before": "float4",
    "predicted_after": "int4",
    "confidence_after": "float4",
    "confidence_drop": "float4",
    "masked_fraction": "float4",
    "height": "int4",
    "width": "int4",
    "cam_height": "int2",
    "cam_width": "int2",
    "cam_before": "bytea",
    "cam_after": "bytea",
    "mask": "bytea",
    "heatmap_distance": "float4",
    "probabilities_before": "bytea",
    "probabilities_after": "bytea",
}
_WITHOUT_PICTURES: Final = tuple(
    defer(column, raiseload=True)
    for column in (
        Sample.cam_before,
        Sample.cam_after,
        Sample.mask,
        Sample.probabilities_before,
        Sample.probabilities_after,
    )
)
_FEW: Final = 20_000
"""So many samples are read and sorted well within the time that a page may take."""


def copy_in(session: Session, job_id: uuid.UUID, token: uuid.UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (the columns of `Sample` without `job_id` and what is computed from others). Raises `LeaseLost`.

    Rows of the same index are replaced, so that a batch may be sent again.
    """
    leases.fence(session, Job, job_id, token)
    indices = [row["index"] for row in rows]
    gone = session.execute(
        delete(Sample)
        .where(Sample.job_id == job_id, Sample.index.in_(indices))
        .returning(Sample.split, Sample.label, Sample.group_key, Sample.outcome),
        execution_options={"synchronize_session": False},
    )
    changes = Counter(_kind(row) for row in rows)
    changes.subtract(Counter((split, label, group, outcome) for split, label, group, outcome in gone))
    copy_rows(session, Sample.__tablename__, _TYPES, ({**row, "job_id": job_id} for row in rows))
    sample_counts.add(session, job_id, changes)


def page(
    session: Session,
    job_id: uuid.UUID,
    filters: SampleFilters = EVERYTHING,
    *,
    sort: Sort = "index",
    descending: bool = False,
    after: int | None = None,
    limit: int = 50,
) -> Page[Sample]:
    """Samples in order of `sort`, ties by index. `after` is the index of the last sample seen.

    CAMs, masks and probabilities are not loaded, and touching them raises: `get` has them.
    """
    wanted: Select[Any, Any]
    if filters.by_confidence and _are_few(session, job_id, filters):
        wanted = _of_few(job_id, filters, sort, after, descending=descending)
    elif filters == EVERYTHING and sort == "index":
        all_of_them: Select[Any, Any] = select(Sample.index, literal(0).label("place")).where(Sample.job_id == job_id)
        wanted = _from(all_of_them, Sample, job_id, sort, after, descending=descending)
    else:
        wanted = _merged(job_id, filters, sort, after, descending=descending, limit=limit + 1)
    chosen = wanted.limit(limit + 1).subquery()
    order = [chosen.c.place, chosen.c.index]
    statement = (
        select(Sample)
        .options(*_WITHOUT_PICTURES)
        .join(chosen, Sample.index == chosen.c.index)
        .where(Sample.job_id == job_id)
        .order_by(*(part.desc() if descending else part for part in order))
    )
    return cut(session.scalars(statement).all(), limit, lambda sample: sample.index)


def get(session: Session, job_id: uuid.UUID, index: int) -> Sample:
    """The whole sample. Raises `NotFound`."""
    sample = session.scalars(
        select(Sample).where(Sample.job_id == job_id, Sample.index == index),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if sample is None:
        raise NotFound("sample", index)
    return sample


def _kind(row: Mapping[str, Any]) -> sample_counts.Kind:
    outcome = BEFORE * (row["predicted_before"] == row["label"]) + AFTER * (row["predicted_after"] == row["label"])
    return row["split"], row["label"], -1 if row["group"] is None else row["group"], outcome


def _merged(
    job_id: uuid.UUID, filters: SampleFilters, sort: Sort, after: int | None, *, descending: bool, limit: int
) -> Select[Any, Any]:
    """(index, place in the order) of the first samples of every kind that fits, merged.

    Every kind is read through the index made for it, already in order and at most `limit` entries of it. So what a page
    costs hangs on the number of kinds, and neither on how many samples there are nor on how deep the page lies.
    """
    columns = [SampleCount.split, SampleCount.outcome]
    if filters.by_class:
        columns += [SampleCount.label, SampleCount.group_key]
    fitting = (
        select(*columns)
        .where(SampleCount.job_id == job_id, SampleCount.count > 0, *filters.kinds(SampleCount))
        .distinct()
        .subquery("kinds")
    )
    sample = aliased(Sample, name="ordered")
    place = _place(sample, sort)
    inner = select(sample.index, place.label("place")).where(
        sample.job_id == job_id,
        *(getattr(sample, column.key) == fitting.c[column.key] for column in columns),
        *filters.confidence(sample),
    )
    each = _from(inner, sample, job_id, sort, after, descending=descending).limit(limit).lateral("each_kind")
    order = [each.c.place, each.c.index]
    return (
        select(each.c.index, each.c.place)
        .select_from(fitting.join(each, true()))
        .order_by(*(part.desc() if descending else part for part in order))
    )


def _of_few(
    job_id: uuid.UUID, filters: SampleFilters, sort: Sort, after: int | None, *, descending: bool
) -> Select[Any, Any]:
    """(index, place in the order) of the samples in a narrow range of confidence, sorted here."""
    inside = (
        select(Sample).where(Sample.job_id == job_id, *filters.confidence(Sample)).offset(0).subquery("inside")
    )  # the offset keeps the planner from another index
    sample = aliased(Sample, inside, name="inside_sample")
    wanted = select(sample.index, _place(sample, sort).label("place")).where(*filters.kinds(sample))
    return _from(wanted, sample, job_id, sort, after, descending=descending)


def _are_few(session: Session, job_id: uuid.UUID, filters: SampleFilters) -> bool:
    some = select(Sample.index).where(Sample.job_id == job_id, *filters.confidence(Sample)).limit(_FEW).subquery()
    return (session.scalar(select(func.count()).select_from(some)) or 0) < _FEW


def _place(sample: type[Sample], sort: Sort) -> ColumnElement[Any]:
    column: ColumnElement[Any] = getattr(sample, sort)
    return literal(0) if sort == "index" else column


def _from(
    statement: Select[Any, Any],
    sample: type[Sample],
    job_id: uuid.UUID,
    sort: Sort,
    after: int | None,
    *,
    descending: bool,
) -> Select[Any, Any]:
    """In order, from behind sample `after` on.

    Its sort value is read from its row: single precision survives no round trip.
    """
    order: list[Any] = [sample.index] if sort == "index" else [getattr(sample, sort), sample.index]
    if after is not None and sort == "index":
        statement = statement.where(sample.index < after if descending else sample.index > after)
    elif after is not None:
        column = getattr(Sample, sort)
        seen = select(column).where(Sample.job_id == job_id, Sample.index == after).correlate(None).scalar_subquery()
        here, there = tuple_(*order), tuple_(seen, after)
        statement = statement.where(here < there if descending else here > there)
    return statement.order_by(*(part.desc() if descending else part for part in order))
