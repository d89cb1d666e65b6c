"""What a data set's preflight report looks like."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ClassBalance(BaseModel):
    """How often a class occurs."""

    name: str = Field(description="The class.", examples=["0-4"])
    count: int = Field(description="Images of all splits.", examples=[5138])
    train: int = Field(description="Training images.", examples=[3060])
    train_share: float = Field(description="Share of the training split.", examples=[0.51])


class Spread(BaseModel):
    """Of a side's lengths, in pixels."""

    min: int = Field(description="Shortest.", examples=[28])
    median: float = Field(description="In the middle.", examples=[28.0])
    max: int = Field(description="Longest.", examples=[28])


class Sizes(BaseModel):
    """How large the images are."""

    width: Spread = Field(description="Widths.")
    height: Spread = Field(description="Heights.")
    distinct: int = Field(description="Different sizes.", examples=[1])
    most_frequent: list[dict[str, int]] = Field(
        description="The ten most frequent sizes.", examples=[[{"width": 28, "height": 28, "count": 10000}]]
    )


class Duplicates(BaseModel):
    """Images that lie in two splits; all test sets count as one."""

    images: int = Field(description="Images that an earlier split has as well.", examples=[2])
    between: list[dict[str, Any]] = Field(
        description="How many, by pair of splits.", examples=[[{"splits": ["train", "test"], "count": 2}]]
    )
    examples: list[list[str]] = Field(
        description="The first 20 pairs, by file name.", examples=[[["train/17.png", "test/99.png"]]]
    )
    complete: bool = Field(description="Whether the search went to its end; it is bounded.", examples=[True])


class CrossSplit(BaseModel):
    """Leaks between splits."""

    exact: Duplicates = Field(description="The same, byte for byte.")
    similar: Duplicates = Field(description="Looking alike: resized, recompressed, or a little brighter.")


class AttributeReport(BaseModel):
    """An attribute column, held against the label."""

    name: str = Field(description="The column.", examples=["square"])
    values: list[str] = Field(description="Its values.", examples=[["no", "yes"]])
    unknown: int = Field(description="Images without a value.", examples=[0])
    groups: dict[str, dict[str, int]] = Field(
        description="Images by split and group.", examples=[{"train": {"0-4 · square=yes": 3029}}]
    )
    cramers_v: dict[str, float | None] = Field(
        description="Cramér's V of label and attribute by split: 0 independent, 1 determined; null where undefined.",
        examples=[{"train": 0.98, "test:original": None}],
    )


class ReportWarning(BaseModel):
    """Where a job could not help, or its result could not be judged."""

    code: str = Field(description="Stable name.", examples=["group_empty"])
    where: str = Field(description="The split or attribute.", examples=["test"])
    message: str = Field(description="For people.", examples=["no image is in the group 'cow · sea': …"])


class ReportRead(BaseModel):
    """What to know about a data set before a job."""

    format: int = Field(description="Version of this report.", examples=[1])
    images: int = Field(description="Images.", examples=[10_000])
    bytes: int = Field(description="Bytes of all images, encoded.", examples=[4_812_345])
    classes: list[ClassBalance] = Field(description="In order of their labels.")
    imbalance: float | None = Field(
        description="Training images of the largest class over those of the smallest.", examples=[1.04]
    )
    splits: dict[str, Any] = Field(
        description="Counts by split, class and group.",
        examples=[{"train": {"count": 6000, "classes": {"0-4": 3060, "5-9": 2940}, "groups": {}}}],
    )
    sizes: Sizes = Field(description="How large the images are.")
    duplicates: CrossSplit = Field(description="Leaks between splits.")
    attributes: list[AttributeReport] = Field(description="Attribute columns.")
    warnings: list[ReportWarning] = Field(description="Where a job could not help.")
