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

Status = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]


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
    priority: int = Field(
        default=0,
        ge=-100,
        le=100,
        description="Order among your own waiting jobs, higher first. It gives no advantage over other tenants.",
        examples=[0],
    )


class JobError(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable name of the error.", examples=["out_of_gpu_memory"])
    message: str = Field(description="For people.", examples=["a batch of 512 does not fit: lower erm.batch_size"])
    stage: str | None = Field(default=None, description="Where it happened.", examples=["training_erm"])
    retryable: bool = Field(default=False, description="Whether the same job may succeed when tried again.")
    advice: str | None = Field(
        default=None, description="What to do about it.", examples=["Set runtime.micro_batch, or lower erm.batch_size."]
    )
    log: list[str] = Field(
        default_factory=list,
        description="The last lines that the trainer logged.",
        examples=[["2026-01-31T12:00:10Z [warning] attempt_failed"]],
    )
    cause: dict[str, Any] | None = Field(
        default=None, description="The last attempt's error, where `code` is attempts_exhausted.", examples=[None]
    )


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
    starts_from_checkpoint: bool = Field(
        description="Whether it starts from a checkpoint. Once that was deleted, it cannot be resumed.",
        examples=[False],
    )
    status: Status = Field(description="Where it stands.", examples=["running"])
    stage: str | None = Field(
        description="Where it is inside running: preparing, training_erm, masking, finetuning, evaluating.",
        examples=["training_erm"],
    )
    priority: int = Field(description="Order among the tenant's own waiting jobs, higher first.", examples=[0])
    queue_position: int | None = Field(
        default=None,
        description="Jobs that start before it, itself included; null unless it is queued.",
        examples=[None],
    )
    estimated_start_at: datetime | None = Field(
        default=None, description="When it may start; null when unknown or started.", examples=[None]
    )
    estimated_finish_at: datetime | None = Field(
        default=None,
        description="When it may end, from earlier jobs on the same network and from its own pace; null when unknown.",
        examples=["2026-01-31T12:00:30Z"],
    )
    attempt: int = Field(description="Attempts begun so far.", examples=[1])
    max_attempts: int = Field(description="Attempts before the service gives up.", examples=[3])
    config: JobConfig | dict[str, Any] = Field(
        description="The whole configuration, resolved; as it was stored, where this version cannot read it."
    )
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
        examples=[
            [
                {
                    "code": "nothing_masked",
                    "message": "round 1: no training image has anything masked, so finetuning is plain further "
                    "training: lower masking.k, or choose another saliency method or CAM layer",
                }
            ]
        ],
    )
    manifest: dict[str, Any] | None = Field(
        description="Seed, versions, device and hashes.", examples=[{"seed": 0, "device": "cpu"}]
    )
    error: JobError | None = Field(description="Why it failed, or why the last attempt was given up.", examples=[None])
    ran_seconds: float = Field(description="How long its attempts ran, all before the present one.", examples=[0.0])
    last_event: int = Field(
        validation_alias="event_seq", description="Number of the last event in its log.", examples=[7]
    )
    created_at: datetime = Field(description="When it was submitted.", examples=["2026-01-31T12:00:00Z"])
    started_at: datetime | None = Field(description="When it first ran.", examples=["2026-01-31T12:00:01Z"])
    finished_at: datetime | None = Field(description="When it ended.", examples=["2026-01-31T12:00:31Z"])


class StageRead(BaseModel):
    """A stage that an attempt entered."""

    attempt: int = Field(description="Number of the attempt, from 1.", examples=[1])
    stage: str = Field(description="preparing, training_erm, masking, finetuning or evaluating.", examples=["masking"])
    iteration: int = Field(description="Round of masking and finetuning; 0 outside them.", examples=[1])
    entered_at: datetime = Field(description="When it began.", examples=["2026-01-31T12:00:10Z"])
    left_at: datetime | None = Field(
        description="When the attempt's next stage began, or the attempt ended; null while nobody knows.",
        examples=["2026-01-31T12:00:20Z"],
    )


class StageList(BaseModel):
    """Every stage of every attempt."""

    data: list[StageRead] = Field(description="In order of time.")


class JobQuery(PageQuery):
    """Query of the list of jobs."""

    status: Status | None = Field(default=None, description="Only those with this status.", examples=["running"])
    dataset_id: UUID | None = Field(default=None, description="Only those on this data set.", examples=[EXAMPLE_ID])
    name: Name | None = Field(
        default=None, description="Only those with this in their name, in upper or lower case.", examples=["biased"]
    )
