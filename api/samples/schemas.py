"""What a sample looks like."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID
from api.pages import PageQuery
from api.rendering.pictures import Format
from api.text import Printable

View = Literal["original", "heatmap", "mask", "masked"]
Model = Literal["before", "after"]


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
    width: int = Field(description="Pixels.", examples=[28])
    height: int = Field(description="Pixels.", examples=[28])
    image_url: str = Field(
        description="Its pictures; add `view` and `model`.", examples=[f"/v1/jobs/{EXAMPLE_ID}/samples/17/image"]
    )


class SampleQuery(PageQuery):
    """Query of a job's samples."""

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
    sort: Literal["index", "masked_fraction", "confidence_drop"] = Field(
        default="index", description="What to sort by; ties by index.", examples=["confidence_drop"]
    )
    order: Literal["asc", "desc"] = Field(default="asc", description="Smallest or largest first.", examples=["desc"])


class PictureQuery(BaseModel):
    """Query of a sample's picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    view: View = Field(
        default="original",
        description="original: the image. heatmap: what the model looked at, over the image; parts that the network "
        "never saw are dark. mask: white = kept, black = masked. masked: the image as finetuning saw it.",
        examples=["heatmap"],
    )
    model: Model = Field(
        default="before", description="heatmap only: ERM (before) or MaskTune (after).", examples=["after"]
    )
    format: Format = Field(default="webp", description="Lossless either way.", examples=["png"])
    max_side: int | None = Field(
        default=None,
        ge=1,
        le=16_383,
        description="Scale down so that no side is longer, pixels. Default: the image's own size.",
        examples=[256],
    )
