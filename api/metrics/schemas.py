"""What a metric looks like."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.text import Printable
from masktune_core.config import Stage


class MetricRead(BaseModel):
    """One number of a job.

    Final evaluations have stage `evaluating`, epoch 0, and iteration 0 for ERM ("before"), n for MaskTune's round n.
    """

    model_config = ConfigDict(from_attributes=True)

    stage: str = Field(description="The stage that found it.", examples=["evaluating"])
    iteration: int = Field(description="Round of masking and finetuning; 0 before the first.", examples=[1])
    epoch: int = Field(description="Epoch from 1 in training; 0 in evaluation.", examples=[0])
    split: str = Field(description="train, val, test or test:<name>.", examples=["test:biased"])
    group: str | None = Field(description="The group's name; null for the whole split.", examples=["5-9 · square=yes"])
    name: str = Field(
        description="accuracy, worst_group_accuracy, group_adjusted_accuracy, worst_class_accuracy, ece, accuracy_low, "
        "accuracy_high (95 % Wilson interval), aurc, selective.…, loss, lr.",
        examples=["accuracy"],
    )
    value: float | None = Field(description="The number; null where undefined, as in an empty group.", examples=[0.969])
    count: int | None = Field(description="Samples behind it.", examples=[968])


class MetricList(BaseModel):
    """All numbers that the filters leave; there is only one page."""

    data: list[MetricRead] = Field(description="In the order in which they were found.")
    has_more: bool = Field(default=False, description="Always false.", examples=[False])
    next: None = Field(default=None, description="Always null.", examples=[None])


class MetricQuery(BaseModel):
    """Query of a job's metrics."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = Field(default=None, description="Only this stage.", examples=["evaluating"])
    iteration: int | None = Field(default=None, ge=0, le=1000, description="Only this round.", examples=[1])
    split: Printable | None = Field(default=None, max_length=100, description="Only this split.", examples=["test"])
    name: Printable | None = Field(default=None, max_length=60, description="Only this name.", examples=["accuracy"])
