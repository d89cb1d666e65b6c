"""What a job found on each image: written with COPY, read in keyset pages."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Select,
    Subquery,
    and_,
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
from persistence.tables import Job, Sample, SampleBand, SampleCount

__all__ = ["SampleFilters", "Sort", "copy_in", "get", "page", "sizes", "some"]

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
_FEW: Final = 10
"""A range that less than one in so many samples of a kind lie in is fetched: then the worst is known beforehand."""


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
    start: float | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[Sample]:
    """Samples in order of `sort`, ties by index, from the value `start` of it on. `after` is the index of the last
    sample seen.

    CAMs, masks and probabilities are not loaded, and touching them raises: `get` has them.
    """
    wanted: Select[Any, Any]
    direct = filters.indices is not None or (filters == EVERYTHING and sort == "index")
    place = _Place(job_id, sort, descending, start, after)
    if direct:
        some: Select[Any, Any] = select(Sample.index, place.of(Sample).label("place")).where(Sample.job_id == job_id)
        if filters.indices is not None:
            some = some.where(Sample.index.in_(filters.indices), *filters.kinds(Sample), *filters.confidence(Sample))
        wanted = place.onwards(some, Sample)
    else:
        wanted = _merged(job_id, filters, place, limit + 1)
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


def some(session: Session, job_id: uuid.UUID, indices: Collection[int]) -> Sequence[Sample]:
    """The whole samples of these indices, in their order; those that are not there are left out."""
    wanted = Sample.index.in_(indices)
    return session.scalars(select(Sample).where(Sample.job_id == job_id, wanted).order_by(Sample.index)).all()


def sizes(session: Session, job_id: uuid.UUID, indices: Collection[int]) -> dict[int, tuple[int, int]]:
    """(width, height) in pixels of these samples, by index; those that are not there are left out."""
    found = select(Sample.index, Sample.width, Sample.height).where(
        Sample.job_id == job_id, Sample.index == func.any(list(indices))
    )
    return {index: (width, height) for index, width, height in session.execute(found)}


def _merged(job_id: uuid.UUID, filters: SampleFilters, place: _Place, limit: int) -> Select[Any, Any]:
    """(index, place in the order) of the first samples of every kind that fits, merged.

    A kind is read through the index made for it, already in order and at most `limit` entries of it. So what a page
    costs hangs on the number of kinds, and neither on how many samples there are nor on how deep the page lies.

    With a range of confidence, which the index passes over what is outside of, a kind of n samples with m in the range
    takes about `limit`·n/m entries, and n − m at the worst: where order and confidence hang together. If that is more
    than m, or m is a small part of n, all m are fetched by their confidence and sorted.
    """
    kinds = _kinds(job_id, filters).cte("kinds")
    names = [column.key for column in kinds.c if column.key not in ("size", "inside")]

    def each(some: Subquery, *, ordered: bool) -> Select[Any, Any]:
        sample = aliased(Sample, name="ordered" if ordered else "ranged")
        of_kind = (
            sample.job_id == job_id,
            *(getattr(sample, name) == some.c[name] for name in names),
            *filters.confidence(sample),
        )
        if not ordered:  # the offset keeps the planner from an index in the order asked for
            fetched = select(sample.index, *([] if place.sort == "index" else [getattr(sample, place.sort)]))
            sample = aliased(
                Sample, fetched.where(*of_kind).correlate(some).offset(0).subquery("fetched"), name="fetched_sample"
            )
            of_kind = ()
        found: Select[Any, Any] = select(sample.index, place.of(sample).label("place")).where(*of_kind)
        first = place.onwards(found, sample).limit(limit).lateral("first_ordered" if ordered else "first_ranged")
        return select(first.c.index, first.c.place).select_from(some.join(first, true()))

    merged: Select[Any, Any] | CompoundSelect[Any, Any]
    if filters.ranges:
        inside, size = cast(kinds.c.inside, BigInteger), kinds.c.size
        in_order = or_(size <= _SMALL, and_(inside * inside >= limit * size, inside * _FEW >= size))
        merged = union_all(
            each(select(kinds).where(in_order).subquery("kinds_in_order"), ordered=True),
            each(select(kinds).where(~in_order).subquery("kinds_fetched"), ordered=False),
        )
    else:
        merged = each(select(kinds).subquery("kinds_in_order"), ordered=True)
    all_kinds = merged.subquery("merged")
    order = [all_kinds.c.place, all_kinds.c.index]
    return select(all_kinds.c.index, all_kinds.c.place).order_by(
        *(part.desc() if place.descending else part for part in order)
    )


def _kinds(job_id: uuid.UUID, filters: SampleFilters) -> Select[Any, Any]:
    """The kinds that have samples which fit: their key, `size`, and how many lie `inside` of the ranges at most."""
    names = ["split", "outcome", *(["label", "group_key"] if filters.by_class else [])]

    def counted(table: type[SampleCount] | type[SampleBand], *conditions: ColumnElement[bool]) -> Select[Any, Any]:
        total = func.sum(table.count)
        columns = [getattr(table, name) for name in names]
        fitting = select(*columns, total.label("size")).where(table.job_id == job_id, *filters.kinds(table))
        return fitting.where(*conditions).group_by(*columns).having(total > 0)

    whole = counted(SampleCount).subquery("whole")
    parts = [
        counted(SampleBand, SampleBand.model == model, filters.bands(model)).subquery(f"inside_{model}")
        for model in filters.ranges
    ]
    inside = func.least(whole.c.size, *(part.c.size for part in parts))
    found = select(*(whole.c[name] for name in names), whole.c.size, inside.label("inside")).select_from(whole)
    for part in parts:
        found = found.join(part, and_(*(part.c[name] == whole.c[name] for name in names)))
    return found


@dataclass(frozen=True, slots=True)
class _Place:
    """An order, and from where on in it."""

    job_id: uuid.UUID
    sort: Sort
    descending: bool
    start: float | None
    after: int | None

    def of(self, sample: type[Sample]) -> ColumnElement[Any]:
        """What is sorted by, before the index."""
        column: ColumnElement[Any] = getattr(sample, self.sort)
        return literal(0) if self.sort == "index" else column

    def onwards(self, statement: Select[Any, Any], sample: type[Sample]) -> Select[Any, Any]:
        """In order, from `start` on and from behind sample `after` on.

        Its sort value is read from its row: single precision survives no round trip.
        """
        column = getattr(sample, self.sort)
        order: list[Any] = [sample.index] if self.sort == "index" else [column, sample.index]
        start = self.start
        if start is not None and self.sort == "index":  # only with a whole number its index is used
            start = math.floor(start) if self.descending else math.ceil(start)
        if start is not None:
            statement = statement.where(column <= start if self.descending else column >= start)
        if self.after is not None and self.sort == "index":
            after = self.after
            statement = statement.where(sample.index < after if self.descending else sample.index > after)
        elif self.after is not None:
            seen = (
                select(getattr(Sample, self.sort))
                .where(Sample.job_id == self.job_id, Sample.index == self.after)
                .correlate(None)
                .scalar_subquery()
            )
            here, there = tuple_(*order), tuple_(seen, self.after)
            statement = statement.where(here < there if self.descending else here > there)
        return statement.order_by(*(part.desc() if self.descending else part for part in order))
