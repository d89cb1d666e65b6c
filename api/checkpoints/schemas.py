"""What a checkpoint looks like."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from api.ids import EXAMPLE_ID
from api.pages import PageQuery
from api.text import Name, Printable
from masktune_core.config import MOST_CLASSES, ModelConfig

ClassName = Annotated[Printable, Field(min_length=1, max_length=80)]
Status = Literal["validating", "ready", "invalid"]


class CheckpointCreate(BaseModel):
    """Make a checkpoint from an upload."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "ERM baseline", "upload_id": EXAMPLE_ID, "architecture": "resnet50", "num_classes": 2}
            ]
        },
    )

    name: Name = Field(description="For people.", examples=["ERM baseline"])
    upload_id: UUID = Field(
        description="The uploaded weights: safetensors, or a PyTorch state dict (read with weights_only).",
        examples=[EXAMPLE_ID],
    )
    architecture: str = Field(
        max_length=100, description="The network they are for; see the configuration's model.", examples=["resnet50"]
    )
    num_classes: int = Field(ge=2, le=MOST_CLASSES, description="Outputs of the last layer.", examples=[2])
    classes: Annotated[list[ClassName], Field(min_length=2, max_length=MOST_CLASSES)] | None = Field(
        default=None,
        description="The class of each output, in order. Default: what the file says, as checkpoints of jobs do. Known "
        "classes have to be those of a job's data set, in the same order.",
        examples=[["0-4", "5-9"]],
    )

    @field_validator("architecture")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return ModelConfig(architecture=value).architecture
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    @model_validator(mode="after")
    def _a_name_each(self) -> Self:
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(f"classes has {len(self.classes)} names for {self.num_classes} outputs: give one for each")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a name twice: give each output its own")
        return self


class KeyReport(BaseModel):
    """Keys that do not match the architecture, the first hundred of each kind."""

    missing: list[str] = Field(description="Which the file lacks.", examples=[["fc.weight"]])
    unexpected: list[str] = Field(description="Which the architecture lacks.", examples=[["head.weight"]])
    misshapen: list[str] = Field(description="Whose shape or type is another.", examples=[[]])
    counts: dict[str, int] = Field(
        description="How many there are of each kind, listed or not.",
        examples=[{"missing": 1, "unexpected": 1, "misshapen": 0}],
    )

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, report: Mapping[str, Any]) -> Mapping[str, Any]:
        """Earlier reports have every key and no counts."""
        return {"counts": {kind: len(keys) for kind, keys in report.items() if kind != "counts"}, **report}


class CheckpointRead(BaseModel):
    """Weights: first checked against their architecture (`validating`), then `ready` or `invalid`."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="Id.", examples=[EXAMPLE_ID])
    name: str = Field(description="For people.", examples=["ERM baseline"])
    status: Status = Field(description="Where the check stands.", examples=["ready"])
    architecture: str = Field(description="The network.", examples=["resnet50"])
    num_classes: int = Field(description="Outputs of the last layer.", examples=[2])
    classes: list[str] | None = Field(
        description="The class of each output, in order; null where nobody says.", examples=[["0-4", "5-9"]]
    )
    source_filename: str = Field(description="Name of the upload.", examples=["erm.pt"])
    source_sha256: str = Field(description="SHA-256 of the upload.", examples=["9f86d081884c7d65…"])
    content_sha256: str | None = Field(description="SHA-256 of the safetensors form.", examples=["3a6eb079…"])
    content_size: int | None = Field(description="Bytes of the safetensors form.", examples=[94_371_840])
    report: KeyReport | None = Field(description="Keys that do not match the architecture, where any do not.")
    error: dict[str, Any] | None = Field(description="Why it is invalid.", examples=[None])
    created_at: datetime = Field(description="When it was asked for.", examples=["2026-01-31T12:00:00Z"])
    finished_at: datetime | None = Field(description="When the check ended.", examples=["2026-01-31T12:00:04Z"])


class CheckpointQuery(PageQuery):
    """Query of the list of checkpoints."""

    status: Status | None = Field(default=None, description="Only those with this status.", examples=["ready"])
