"""What a job relied on, for programs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID

Map = Literal["heatmap_before", "heatmap_after", "mask_before", "mask_after"]
MAPS: tuple[Map, ...] = ("heatmap_before", "heatmap_after", "mask_before", "mask_after")
_PICTURE = f"/v1/jobs/{EXAMPLE_ID}/insight/image"


class ClusterRead(BaseModel):
    """Masked regions of a class that are alike: where they are, and by the features of the CAM layer there."""

    images: int = Field(description="Images in it.", examples=[1953])
    share: float = Field(
        description="Their share of the class's clustered images with anything masked.", examples=[0.97]
    )
    top: float = Field(description="Mean centre of the masked regions, from the top, 1 = the bottom.", examples=[0.08])
    left: float = Field(description="The same from the left, 1 = the right.", examples=[0.09])
    radius: float = Field(
        description="Root mean square distance of the centres from that, in image sides.", examples=[0.02]
    )
    masked_fraction: float = Field(description="Mean share of the image that is masked.", examples=[0.03])
    overlap: float = Field(
        description="How much of the masked area of one image is masked in another, on average.", examples=[0.83]
    )
    similarity: float = Field(description="Mean cosine of the features to their mean.", examples=[0.96])
    tightness: float = Field(description="overlap × similarity; 1 = the same thing at the same place.", examples=[0.8])
    is_shortcut: bool = Field(
        description="Whether it looks like a shortcut: a third of the class or more, and tight.", examples=[True]
    )
    description: str = Field(
        description="The same in words.",
        examples=["The same region in the top left corner, in 97 % of the masked images: 3.1 % of the picture, …"],
    )
    examples: list[int] = Field(description="Samples nearest to its middle.", examples=[[17, 4, 93]])
    mask_url: str = Field(description="Picture: the share of its images in which each place is masked.")


class ClassInsightRead(BaseModel):
    """What the models relied on for one class, over its training images."""

    label: int = Field(description="Position in the data set's classes.", examples=[0])
    name: str = Field(description="Name of the class.", examples=["0-4"])
    images: int = Field(description="Training images of the class.", examples=[3512])
    masked: int = Field(description="Those that have anything masked.", examples=[3498])
    map_urls: dict[Map, str] = Field(
        description="Pictures in image coordinates: mean heatmaps, and the share of images in which each place is "
        "masked (before) or would be masked for the finetuned model (after).",
        examples=[{"heatmap_before": f"{_PICTURE}?label=0&map=heatmap_before"}],
    )
    clusters: list[ClusterRead] = Field(description="Largest first.")


class InsightRead(BaseModel):
    """What a job's models relied on, class by class."""

    clustered: int = Field(description="Training images, drawn by the seed, that were clustered.", examples=[7000])
    classes: list[ClassInsightRead] = Field(description="In the data set's order.")


class MapQuery(BaseModel):
    """Query of a mean map's picture."""

    model_config = ConfigDict(extra="forbid")

    label: int = Field(default=0, ge=0, le=2**31 - 1, description="Class.", examples=[0])
    map: Map = Field(default="heatmap_before", description="Which of its maps.", examples=["mask_before"])
    cluster: int | None = Field(
        default=None, ge=0, le=100, description="Position of a cluster: its mask instead.", examples=[0]
    )
    side: int = Field(default=160, ge=1, le=1024, description="Width and height, pixels.", examples=[160])
