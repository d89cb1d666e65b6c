"""What a job found on every image, how many of each kind there are, and what it relied on."""

from __future__ import annotations

import uuid

from sqlalchemy import Computed, ForeignKey, Index, Integer, LargeBinary, SmallInteger, String
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Json

BANDS = 20
"""Bands of confidence that samples are counted in."""
MODELS = ("before", "after")
"""Of a sample's predictions: the ERM model's, the finetuned one's."""
SORTS = ("index", "masked_fraction", "confidence_drop", "heatmap_distance")
"""Columns that samples can be read in the order of; each has an index for every set of filters."""

_OUTCOME = (
    "(CASE WHEN predicted_before = label THEN 1 ELSE 0 END + CASE WHEN predicted_after = label THEN 2 ELSE 0 END)"
)


def _job_id() -> Mapped[uuid.UUID]:
    return mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)


def _ordered(sort: str) -> list[Index]:
    """The samples of one kind (`SampleCount`) in order, without and with a filter on the class or group.

    The confidences come last, as columns of the key and not as included ones: only for a column of the key does the
    index itself pass over what is outside a range, at less than half the cost.
    """
    order = ["index"] if sort == "index" else [sort, "index"]
    return [
        Index(f"ix_samples_{name}_{sort}", *kind, *order, "confidence_after", "confidence_before")
        for name, kind in (
            ("split", ("job_id", "split", "outcome")),
            ("class", ("job_id", "label", "group_key", "split", "outcome")),
        )
    ]


def _ranged(model: str, other: str) -> Index:
    """The samples of one kind by confidence.

    For a range that few samples of a kind fall into: found, filtered and sorted without their rows.
    """
    return Index(
        f"ix_samples_confidence_{model}",
        "job_id",
        "split",
        "outcome",
        f"confidence_{model}",
        postgresql_include=["label", "group_key", f"confidence_{other}", *SORTS],
    )


class Sample(Base):
    """What a job found on one image, before (ERM) and after (MaskTune).

    CAM grids are raw float16, row-major, `cam_height × cam_width`. `mask` is the keep mask (True = kept) at the image's
    own `height × width`: bits packed row-major over the whole image (numpy.packbits), then zlib-deflated; it is the
    mask that training used. `masked_fraction` is its share of masked pixels, `confidence_drop` is `confidence_before −
    confidence_after`, each of the class predicted then. `heatmap_distance` is the total variation distance of the two
    CAM grids, each scaled to sum 1: 0 = they look at the same, 1 = at nothing in common. `probabilities_before` and
    `probabilities_after` hold the softmax of all classes as raw float16, and are null where there are very many.

    `outcome` is 1 if it was right before, plus 2 if it is right after; `group_key` is the group, −1 for none.
    """

    __tablename__ = "samples"

    job_id: Mapped[uuid.UUID] = _job_id()
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    split: Mapped[str] = mapped_column(String(100))
    label: Mapped[int] = mapped_column(Integer)
    group: Mapped[int | None] = mapped_column(Integer)
    predicted_before: Mapped[int] = mapped_column(Integer)
    confidence_before: Mapped[float] = mapped_column(REAL)
    predicted_after: Mapped[int] = mapped_column(Integer)
    confidence_after: Mapped[float] = mapped_column(REAL)
    confidence_drop: Mapped[float] = mapped_column(REAL)
    masked_fraction: Mapped[float] = mapped_column(REAL)
    height: Mapped[int] = mapped_column(Integer)
    width: Mapped[int] = mapped_column(Integer)
    cam_height: Mapped[int] = mapped_column(SmallInteger)
    cam_width: Mapped[int] = mapped_column(SmallInteger)
    cam_before: Mapped[bytes] = mapped_column(LargeBinary)
    cam_after: Mapped[bytes] = mapped_column(LargeBinary)
    mask: Mapped[bytes] = mapped_column(LargeBinary)
    heatmap_distance: Mapped[float] = mapped_column(REAL)
    probabilities_before: Mapped[bytes | None] = mapped_column(LargeBinary)
    probabilities_after: Mapped[bytes | None] = mapped_column(LargeBinary)
    outcome: Mapped[int] = mapped_column(SmallInteger, Computed(_OUTCOME, persisted=True))
    group_key: Mapped[int] = mapped_column(Integer, Computed('COALESCE("group", -1)', persisted=True))

    __table_args__ = (
        *(index for sort in SORTS for index in _ordered(sort)),
        *(_ranged(model, other) for model, other in (MODELS, MODELS[::-1])),
    )


class SampleCount(Base):
    """How many samples of a kind a job has: one split, class, group (−1: none) and outcome.

    Written together with the samples. A page of any filter is merged from the kinds that fit it, each read in order
    through an index, so that it never costs more than a page of each.
    """

    __tablename__ = "sample_counts"

    job_id: Mapped[uuid.UUID] = _job_id()
    split: Mapped[str] = mapped_column(String(100), primary_key=True)
    label: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    group_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    outcome: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(Integer)


class SampleBand(Base):
    """How many samples of a kind lie in a band of confidence of one of the two models.

    `model` is before or after, `band` the twentieth, from 0 to 19, that its confidence lies in. Read only where a
    confidence is bounded, to choose between two ways to the page.
    """

    __tablename__ = "sample_bands"

    job_id: Mapped[uuid.UUID] = _job_id()
    split: Mapped[str] = mapped_column(String(100), primary_key=True)
    label: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    group_key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    outcome: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    model: Mapped[str] = mapped_column(String(6), primary_key=True)
    band: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(Integer)


class Insight(Base):
    """What a job's models relied on, as `masktune_core.insight` reports it.

    `report` is its JSON; `maps` holds the class maps, then the cluster masks, as deflated uint8 grids.
    """

    __tablename__ = "insights"

    job_id: Mapped[uuid.UUID] = _job_id()
    report: Mapped[Json]
    maps: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]
