"""What a data set and its images look like."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID
from api.pages import PageQuery
from api.text import Name, Printable
from masktune_core.config import IntakeOptions

Status = Literal["validating", "ready", "invalid"]


class DatasetCreate(BaseModel):
    """Make a data set from an upload."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "Biased MNIST", "upload_id": EXAMPLE_ID},
                {
                    "name": "CelebA, smiling against age",
                    "upload_id": EXAMPLE_ID,
                    "options": {"celeba": {"target": "Smiling", "attribute": "Young"}},
                },
                {"name": "My folders, split once more", "upload_id": EXAMPLE_ID, "options": {"seed": 1}},
            ]
        },
    )

    name: Name = Field(description="For people.", examples=["Biased MNIST"])
    upload_id: UUID = Field(description="The uploaded archive.", examples=[EXAMPLE_ID])
    options: IntakeOptions = Field(
        default=IntakeOptions(), description="What the archive's own files leave open: which split, which columns."
    )


class AttributeRead(BaseModel):
    """A column beside the label; together with it, it forms groups."""

    name: str = Field(description="The column's name.", examples=["square"])
    values: list[str] = Field(description="Its values, in order.", examples=[["no", "yes"]])


class IntakeProblem(BaseModel):
    """One finding of the archive's check."""

    code: str = Field(description="Stable name of the finding.", examples=["image_corrupt"])
    where: str = Field(description="The file, row or field.", examples=["images/00017.png"])
    message: str = Field(description="What is wrong.", examples=["the file ends in the middle of the image"])
    severity: Literal["error", "converted", "warning"] = Field(
        description="Only an error makes the data set invalid.", examples=["error"]
    )


class DatasetRead(BaseModel):
    """A data set: first checked (`validating`), then `ready` or `invalid`."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="Id.", examples=[EXAMPLE_ID])
    name: str = Field(description="For people.", examples=["Biased MNIST"])
    status: Status = Field(description="Where the check stands.", examples=["ready"])
    source_filename: str = Field(description="Name of the uploaded archive.", examples=["biased-mnist.zip"])
    source_sha256: str = Field(description="SHA-256 of the uploaded archive.", examples=["9f86d081884c7d65…"])
    options: IntakeOptions = Field(
        description="How it was asked to be read; those left out included.", examples=[IntakeOptions().model_dump()]
    )
    archive_sha256: str | None = Field(
        description="SHA-256 of the normalised archive; what a job's data-set hash refers to.", examples=["3a6eb079…"]
    )
    archive_size: int | None = Field(description="Bytes of the normalised archive.", examples=[4_812_345])
    layout: str | None = Field(description="How the archive was recognised.", examples=["metadata_csv"])
    image_count: int | None = Field(description="Images.", examples=[10_000])
    classes: list[str] = Field(
        description="Class names; a label is a position in this list.", examples=[["0-4", "5-9"]]
    )
    attributes: list[AttributeRead] = Field(description="Attribute columns.")
    summary: dict[str, Any] | None = Field(
        description="Counts by split, class and group.",
        examples=[
            {
                "splits": {
                    "train": {
                        "count": 6000,
                        "classes": {"0-4": 3060, "5-9": 2940},
                        "groups": {"0-4 · square=yes": 3029, "0-4 · square=no": 31},
                    }
                }
            }
        ],
    )
    problems: list[IntakeProblem] = Field(description="The first 100 findings.")
    problem_count: int = Field(description="All findings.", examples=[0])
    error: dict[str, Any] | None = Field(description="Why the check itself failed, if it did.", examples=[None])
    created_at: datetime = Field(description="When it was asked for.", examples=["2026-01-31T12:00:00Z"])
    finished_at: datetime | None = Field(description="When the check ended.", examples=["2026-01-31T12:00:04Z"])


class DatasetQuery(PageQuery):
    """Query of the list of data sets."""

    status: Status | None = Field(default=None, description="Only those with this status.", examples=["ready"])


class ImageRead(BaseModel):
    """One image of a data set."""

    index: int = Field(description="Its number, from 0; the same as in a job's samples.", examples=[0])
    name: str = Field(description="Its file name in the archive.", examples=["train/00000.png"])
    split: str = Field(description="train, val, test or test:<name>.", examples=["train"])
    label: int = Field(description="Position in the data set's classes.", examples=[0])
    class_name: str = Field(description="Name of that class.", examples=["0-4"])
    attributes: dict[str, str | None] = Field(
        description="Value of each attribute; null where unknown.", examples=[{"square": "yes"}]
    )
    width: int = Field(description="Pixels.", examples=[28])
    height: int = Field(description="Pixels.", examples=[28])
    url: str = Field(description="The image itself.", examples=[f"/v1/datasets/{EXAMPLE_ID}/images/0"])


class ImageQuery(PageQuery):
    """Query of the list of images."""

    split: Printable | None = Field(default=None, max_length=100, description="Only this split.", examples=["train"])
    label: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Only this label.", examples=[0])


class ImageSize(BaseModel):
    """Query of one image."""

    model_config = ConfigDict(extra="forbid")

    max_side: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Scale down so that no side is longer, pixels, as WebP. Default, and for smaller images: the image "
        "as it is stored.",
        examples=[192],
    )
