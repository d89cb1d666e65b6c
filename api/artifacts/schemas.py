"""What an artifact looks like."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID


class ArtifactRead(BaseModel):
    """A file that a job made."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="Its name within the job.", examples=["masktune.safetensors"])
    size: int = Field(description="Bytes.", examples=[1_084_416])
    sha256: str = Field(description="SHA-256 of its bytes, hexadecimal; also its ETag.", examples=["9f86d081884c7d65…"])
    media_type: str = Field(description="Its type.", examples=["application/vnd.safetensors"])
    created_at: datetime = Field(description="When it was stored.", examples=["2026-01-31T12:00:30Z"])
    url: str = Field(
        description="Where to download it.", examples=[f"/v1/jobs/{EXAMPLE_ID}/artifacts/masktune.safetensors"]
    )


class ArtifactList(BaseModel):
    """All files of a job; there is only one page."""

    data: list[ArtifactRead] = Field(description="By name.")
    has_more: bool = Field(default=False, description="Always false.", examples=[False])
    next: None = Field(default=None, description="Always null.", examples=[None])
