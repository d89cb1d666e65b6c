"""What a sample looks like."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.ids import EXAMPLE_ID
from api.pages import PageQuery
from api.rendering.pictures import Format
from api.text import Printable
from persistence.sample_filters import SampleFilters

View = Literal["original", "heatmap", "map", "mask", "masked"]
Model = Literal["before", "after"]
_INDICES: Final = "[0-9]{1,9}(,[0-9]{1,9})*"
MOST_INDICES = 500
"""Samples that can be named one by one: an address of that many still passes through any proxy."""


class SampleRead(BaseModel):
    """What a job found on one image: before (ERM) and after (MaskTune)."""

    index: int = Field(description="Number of the image in the data set.", examples=[17])
    split: str = Field(description="train, val, test or test:<name>.", examples=["test:biased"])
    label: int = Field(description="True class, a position in the data set's classes.", examples=[1])
    group: int | None = Field(description="Group: label × number of attribute values + value.", examples=[3])
    class_name: str | None = Field(description="Name of the true class.", examples=["5-9"])
    group_name: str | None = Field(description="Name of the group.", examples=["5-9 · square=yes"])
    predicted_before: int = Field(description="Predicted class before.", examples=[0])
    confidence_before: float = Field(description="Softmax of that class.", examples=[0.98])
    predicted_after: int = Field(description="Predicted class after.", examples=[1])
    confidence_after: float = Field(description="Softmax of that class.", examples=[0.91])
    confidence_drop: float = Field(description="confidence_before − confidence_after.", examples=[0.07])
    correct_before: bool = Field(description="Whether it was right before.", examples=[False])
    correct_after: bool = Field(description="Whether it is right after.", examples=[True])
    flipped: Literal["fixed", "broken"] | None = Field(
        description="fixed: wrong before, right after; broken: the reverse.", examples=["fixed"]
    )
    masked_fraction: float = Field(description="Share of its pixels that were masked.", examples=[0.021])
    heatmap_distance: float = Field(
        description="Total variation distance of the two heatmaps, each scaled to sum 1: 0 = they look at the same, "
        "1 = at nothing in common.",
        examples=[0.74],
    )
    width: int = Field(description="Pixels.", examples=[28])
    height: int = Field(description="Pixels.", examples=[28])
    image_url: str = Field(
        description="Its pictures; add `view` and `model`.", examples=[f"/v1/jobs/{EXAMPLE_ID}/samples/17/image"]
    )


class SampleDetail(SampleRead):
    """A sample with what the models say about every class."""

    probabilities_before: list[float] | None = Field(
        description="Softmax of every class before, to three digits; null beyond 1000 classes.", examples=[[0.98, 0.02]]
    )
    probabilities_after: list[float] | None = Field(description="The same after.", examples=[[0.09, 0.91]])


class SampleSelection(BaseModel):
    """Which of a job's samples, in which order."""

    model_config = ConfigDict(extra="forbid")

    split: Printable | None = Field(default=None, max_length=100, description="Only this split.", examples=["test"])
    label: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Only this true class.", examples=[1])
    group: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Only this group.", examples=[3])
    flipped: Literal["fixed", "broken", "any"] | None = Field(
        default=None,
        description="fixed: wrong before, right after; broken: the reverse; any: either.",
        examples=["fixed"],
    )
    correct_before: bool | None = Field(default=None, description="Only right (or wrong) before.", examples=[False])
    correct_after: bool | None = Field(default=None, description="Only right (or wrong) after.", examples=[True])
    min_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Only where the finetuned model is at least so sure.", examples=[0.5]
    )
    max_confidence: float | None = Field(
        default=None, ge=0, le=1, description="Only where the finetuned model is at most so sure.", examples=[0.9]
    )
    min_confidence_before: float | None = Field(
        default=None, ge=0, le=1, description="Only where the ERM model is at least so sure.", examples=[0.5]
    )
    max_confidence_before: float | None = Field(
        default=None, ge=0, le=1, description="Only where the ERM model is at most so sure.", examples=[0.9]
    )
    indices: str | None = Field(
        default=None,
        max_length=5_500,
        pattern=f"^{_INDICES}$",
        description=f"Only these samples, by index, separated by commas; at most {MOST_INDICES}.",
        examples=["3,17,4711"],
    )
    sort: Literal["index", "masked_fraction", "confidence_drop", "heatmap_distance"] = Field(
        default="index", description="What to sort by; ties by index.", examples=["confidence_drop"]
    )
    order: Literal["asc", "desc"] = Field(default="asc", description="Smallest or largest first.", examples=["desc"])
    start: float | None = Field(
        default=None,
        ge=-1,
        le=2**31 - 1,
        allow_inf_nan=False,
        description="Begin at this value of what is sorted by, and leave out what comes before it in the order.",
        examples=[0.25],
    )

    @field_validator("indices", mode="before")
    @classmethod
    def _few(cls, indices: object) -> object:
        # Before the pattern, whose own complaint is for those who read patterns.
        if not isinstance(indices, str):
            return indices
        if not re.fullmatch(_INDICES, indices):
            raise ValueError("give whole numbers separated by commas, such as 3,17,4711")
        if (count := indices.count(",") + 1) > MOST_INDICES:
            raise ValueError(f"{count} samples are named, at most {MOST_INDICES} may be: use filters, or ask twice")
        return indices

    @property
    def filters(self) -> SampleFilters:
        """As persistence takes them."""
        names = {field.name for field in fields(SampleFilters)} - {"indices"}
        indices = None if self.indices is None else tuple(int(index) for index in self.indices.split(","))
        return SampleFilters(**self.model_dump(include=names), indices=indices)


class SampleQuery(SampleSelection, PageQuery):
    """Query of a job's samples."""


class ExportQuery(SampleSelection):
    """Query of an export."""

    format: Literal["csv", "fiftyone"] = Field(
        default="csv",
        description="csv: a table. fiftyone: a zip of images, heatmaps, masks and `samples.json`, which FiftyOne, once "
        "it is unpacked, loads as `fo.types.FiftyOneDataset`.",
        examples=["csv"],
    )
    limit: int | None = Field(default=None, ge=1, le=10_000_000, description="Only the first so many.", examples=[1000])


class SampleTotal(BaseModel):
    """How many samples fit."""

    total: int | None = Field(
        description="Number of samples, those before `start` included; null if the query bounds a confidence, by which "
        "nobody counts.",
        examples=[12345],
    )


class PictureQuery(BaseModel):
    """Query of a sample's picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    view: View = Field(
        default="original",
        description="original: the image. heatmap: what the model looked at, over the image; parts that the network "
        "never saw are dark. map: the same without the image, which it does not need. mask: white = kept, black = "
        "masked. masked: the image as finetuning saw it.",
        examples=["heatmap"],
    )
    model: Model = Field(
        default="before", description="heatmap and map only: ERM (before) or MaskTune (after).", examples=["after"]
    )
    format: Format = Field(default="webp", description="Lossless either way.", examples=["png"])
    max_side: int | None = Field(
        default=None,
        ge=1,
        le=16_383,
        description="Scale down so that no side is longer, pixels. Default: the image's own size.",
        examples=[256],
    )
