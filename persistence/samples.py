"""What a job found on each image: written with COPY, read in keyset pages."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, delete, select, tuple_
from sqlalchemy.orm import Session, defer

from persistence import leases
from persistence.copying import copy_rows
from persistence.errors import NotFound
from persistence.pages import Page, cut
from persistence.tables import Job, Sample

Sort = Literal["index", "masked_fraction", "confidence_drop"]

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
}
_CORRECT_BEFORE: Final = Sample.predicted_before == Sample.label
_CORRECT_AFTER: Final = Sample.predicted_after == Sample.label
_WITHOUT_PICTURES: Final = tuple(
    defer(column, raiseload=True) for column in (Sample.cam_before, Sample.cam_after, Sample.mask)
)


@dataclass(frozen=True, slots=True)
class SampleFilters:
    """Samples for which all of these hold; None leaves one open.

    `flipped`: `fixed` was wrong before and right after, `broken` the reverse, `any` either.
    """

    split: str | None = None
    label: int | None = None
    group: int | None = None
    flipped: Literal["fixed", "broken", "any"] | None = None
    correct_before: bool | None = None
    correct_after: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL, in the words of the table's partial index."""
        found: list[ColumnElement[bool]] = []
        for column in (Sample.split, Sample.label, Sample.group):
            value = getattr(self, column.key)
            if value is not None:
                found.append(column == value)
        if self.flipped is not None:
            found.append(_CORRECT_BEFORE != _CORRECT_AFTER)
        if self.flipped in ("fixed", "broken"):
            found.append(_CORRECT_AFTER if self.flipped == "fixed" else _CORRECT_BEFORE)
        if self.correct_before is not None:
            found.append(_CORRECT_BEFORE if self.correct_before else ~_CORRECT_BEFORE)
        if self.correct_after is not None:
            found.append(_CORRECT_AFTER if self.correct_after else ~_CORRECT_AFTER)
        return found


def copy_in(session: Session, job_id: uuid.UUID, token: uuid.UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (the columns of `Sample` without `job_id`). Raises `LeaseLost`.

    Rows of the same index are replaced, so that a batch may be sent again.
    """
    leases.fence(session, Job, job_id, token)
    indices = [row["index"] for row in rows]
    session.execute(
        delete(Sample).where(Sample.job_id == job_id, Sample.index.in_(indices)),
        execution_options={"synchronize_session": False},
    )
    copy_rows(session, Sample.__tablename__, _TYPES, ({**row, "job_id": job_id} for row in rows))


def page(
    session: Session,
    job_id: uuid.UUID,
    filters: SampleFilters = SampleFilters(),
    *,
    sort: Sort = "index",
    descending: bool = False,
    after: int | None = None,
    limit: int = 50,
) -> Page[Sample]:
    """Samples in order of `sort`, ties by index. `after` is the index of the last sample seen.

    CAMs and masks are not loaded, and touching them raises: `get` has them.
    """
    column = getattr(Sample, sort)
    statement = select(Sample).options(*_WITHOUT_PICTURES).where(Sample.job_id == job_id, *filters.conditions())
    if after is not None:
        statement = statement.where(_beyond(job_id, sort, after, descending=descending))
    order = [column] if sort == "index" else [column, Sample.index]
    statement = statement.order_by(*(part.desc() if descending else part for part in order)).limit(limit + 1)
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


def _beyond(job_id: uuid.UUID, sort: Sort, after: int, *, descending: bool) -> ColumnElement[bool]:
    """Rows that follow sample `after`. Its sort value is read from its row: single precision survives no round trip."""
    if sort == "index":
        return Sample.index < after if descending else Sample.index > after
    column = getattr(Sample, sort)
    seen = select(column).where(Sample.job_id == job_id, Sample.index == after).correlate(None).scalar_subquery()
    here, there = tuple_(column, Sample.index), tuple_(seen, after)
    return here < there if descending else here > there
