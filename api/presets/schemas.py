"""What a preset looks like."""

from __future__ import annotations

from pydantic import BaseModel, Field

from masktune_core.config import JobConfig


class PresetRead(BaseModel):
    """A named, complete configuration."""

    name: str = Field(description="For `preset` of a job.", examples=["biased_mnist"])
    config: JobConfig = Field(description="The whole configuration.")
    pretrained_weights: str | None = Field(
        description="timm's full name of the weights that ERM training starts from; null: random ones.",
        examples=["resnet50.tv_in1k"],
    )


class PresetList(BaseModel):
    """All presets; there is only one page."""

    data: list[PresetRead] = Field(description="The presets.")
    has_more: bool = Field(default=False, description="Always false.", examples=[False])
    next: None = Field(default=None, description="Always null.", examples=[None])
