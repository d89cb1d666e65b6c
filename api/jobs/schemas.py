"""What a job looks like."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID
from api.pages import PageQuery
from api.text import Name
from masktune_core.config import PRESETS, JobConfig

Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]


class JobCreate(BaseModel):
    """Submit a job: a data set, and what to do with it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"dataset_id": EXAMPLE_ID, "preset": "biased_mnist", "config": {"seed": 1, "erm": {"epochs": 5}}},
                {"name": "From my checkpoint", "dataset_id": EXAMPLE_ID, "checkpoint_id": EXAMPLE_ID},
            ]
        },
    )

    name: Name | None = Field(default=None, description="For people. Default: the data set's name.", examples=["Try 1"])
    dataset_id: UUID = Field(description="A data set that is ready.", examples=[EXAMPLE_ID])
    checkpoint_id: UUID | None = Field(
        default=None,
        description="A checkpoint that is ready: ERM training is skipped, and its weights are explained and finetuned.",
        examples=[None],
    )
    preset: str | None = Field(
        default=None,
        max_length=100,
        description="Base configuration: one of " + ", ".join(PRESETS) + ". Default: every field's own default.",
        examples=["biased_mnist"],
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="Changes to the base, nested, as a JSON merge patch (RFC 7396); see `GET /v1/config-schema`.",
        examples=[{"seed": 1, "erm": {"epochs": 5}}],
    )


class JobError(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable name of the error.", examples=["out_of_gpu_memory"])
    message: str = Field(description="For people.", examples=["a batch of 512 does not fit: lower erm.batch_size"])
    stage: str | None = Field(default=None, description="Where it happened.", examples=["training_erm"])
    retryable: bool = Field(default=False, description="Whether the same job may succeed when tried again.")


class JobRead(BaseModel):
    """One MaskTune run."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="Id.", examples=[EXAMPLE_ID])
    name: str = Field(description="For people.", examples=["Biased MNIST"])
    dataset_id: UUID | None = Field(
        description="Its data set; null once that was deleted, which only a finished job survives.",
        examples=[EXAMPLE_ID],
    )
    checkpoint_id: UUID | None = Field(
        description="The checkpoint it starts from; null also once that was deleted.", examples=[None]
    )
    status: Status = Field(description="Where it stands.", examples=["running"])
    stage: str | None = Field(
        description="Where it is inside running: preparing, training_erm, masking, finetuning, evaluating.",
        examples=["training_erm"],
    )
    attempt: int = Field(description="Attempts begun so far.", examples=[1])
    max_attempts: int = Field(description="Attempts before the service gives up.", examples=[3])
    config: JobConfig = Field(description="The whole configuration, resolved.")
    progress: dict[str, Any] | None = Field(
        description="Latest snapshot.",
        examples=[
            {
                "stage": "training_erm",
                "iteration": 0,
                "epoch": 3,
                "epochs": 5,
                "step": 120,
                "steps": 235,
                "loss": 0.11,
                "accuracy": 0.97,
                "images_per_second": 21000.0,
            }
        ],
    )
    warnings: list[dict[str, Any]] = Field(
        description="What was odd, but no reason to stop.",
        examples=[[{"code": "unmasked_images", "message": "12 maps were zero everywhere"}]],
    )
    manifest: dict[str, Any] | None = Field(
        description="Seed, versions, device and hashes.", examples=[{"seed": 0, "device": "cpu"}]
    )
    error: JobError | None = Field(description="Why it failed, or why the last attempt was given up.", examples=[None])
    last_event: int = Field(
        validation_alias="event_seq", description="Number of the last event in its log.", examples=[7]
    )
    created_at: datetime = Field(description="When it was submitted.", examples=["2026-01-31T12:00:00Z"])
    started_at: datetime | None = Field(description="When it first ran.", examples=["2026-01-31T12:00:01Z"])
    finished_at: datetime | None = Field(description="When it ended.", examples=["2026-01-31T12:00:31Z"])


class JobQuery(PageQuery):
    """Query of the list of jobs."""

    status: Status | None = Field(default=None, description="Only those with this status.", examples=["running"])
