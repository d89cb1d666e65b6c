"""What a job found on each image: written with COPY, read in keyset pages."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Select,
    Subquery,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session, aliased, defer

from persistence import leases, sample_counts
from persistence.copying import copy_rows
from persistence.errors import NotFound
from persistence.pages import Page, cut
from persistence.sample_filters import EVERYTHING, SampleFilters
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
_SMALL: Final = 5_000
"""So many index entries are read through without a thought."""


def copy_in(session: Session, job_id: uuid.UUID, token: uuid.UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (the columns of `Sample` without `job_id` and what is computed from others). Raises `LeaseLost`.

    Rows of the same index are replaced, so that a batch may be sent again.
    """
    leases.fence(session, Job, job_id, token)
    indices = [row["index"] for row in rows]
    gone = session.execute(
        delete(Sample).where(Sample.job_id == job_id, Sample.index.in_(indices)).returning(*sample_counts.COLUMNS),
        execution_options={"synchronize_session": False},
    )
    before = Counter(sample_counts.kind_of(row) for row in gone)
    copy_rows(session, Sample.__tablename__, _TYPES, ({**row, "job_id": job_id} for row in rows))
    changes = sample_counts.of(session, job_id, indices)
    changes.subtract(before)
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
    if filters == EVERYTHING and sort == "index":
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


def _merged(
    job_id: uuid.UUID, filters: SampleFilters, sort: Sort, after: int | None, *, descending: bool, limit: int
) -> Select[Any, Any]:
    """(index, place in the order) of the first samples of every kind that fits, merged.

    A kind is read through the index made for it, already in order and at most `limit` entries of it. So what a page
    costs hangs on the number of kinds, and neither on how many samples there are nor on how deep the page lies.

    With a range of confidence, which the index only checks, a kind of n samples with m in the range takes about
    `limit`·n/m entries. Where that is more than m, all m are fetched by their confidence and sorted. The lesser of the
    two is never more than the root of `limit`·n.
    """
    columns = [SampleCount.split, SampleCount.outcome]
    if filters.by_class:
        columns += [SampleCount.label, SampleCount.group_key]
    count, inside = func.sum(SampleCount.count), func.sum(SampleCount.count).filter(filters.bands())
    fitting = (
        select(*columns, count.label("size"), func.coalesce(inside, 0).label("inside"))
        .where(SampleCount.job_id == job_id, *filters.kinds(SampleCount))
        .group_by(*columns)
        .cte("kinds")
    )

    def each(kinds: Subquery, *, ordered: bool) -> Select[Any, Any]:
        sample = aliased(Sample, name="ordered" if ordered else "ranged")
        of_kind = (
            sample.job_id == job_id,
            *(getattr(sample, column.key) == kinds.c[column.key] for column in columns),
            *filters.confidence(sample),
        )
        if not ordered:  # the offset keeps the planner from an index in the order asked for
            fetched = select(sample.index, getattr(sample, sort)) if sort != "index" else select(sample.index)
            sample = aliased(
                Sample, fetched.where(*of_kind).correlate(kinds).offset(0).subquery("fetched"), name="fetched_sample"
            )
            of_kind = ()
        found: Select[Any, Any] = select(sample.index, _place(sample, sort).label("place")).where(*of_kind)
        found = _from(found, sample, job_id, sort, after, descending=descending)
        first = found.limit(limit).lateral("first_ordered" if ordered else "first_ranged")
        return select(first.c.index, first.c.place).select_from(kinds.join(first, true()))

    in_order = or_(
        fitting.c.size <= _SMALL, fitting.c.inside * cast(fitting.c.inside, BigInteger) >= limit * fitting.c.size
    )
    chosen = select(fitting).where(fitting.c.inside > 0)
    merged: Select[Any, Any] | CompoundSelect[Any, Any]
    if filters.by_confidence:
        merged = union_all(
            each(chosen.where(in_order).subquery("kinds_in_order"), ordered=True),
            each(chosen.where(~in_order).subquery("kinds_fetched"), ordered=False),
        )
    else:
        merged = each(chosen.subquery("kinds_in_order"), ordered=True)
    all_kinds = merged.subquery("merged")
    order = [all_kinds.c.place, all_kinds.c.index]
    return select(all_kinds.c.index, all_kinds.c.place).order_by(
        *(part.desc() if descending else part for part in order)
    )


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
