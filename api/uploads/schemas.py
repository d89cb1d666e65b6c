"""What an upload looks like."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID


class UploadRead(BaseModel):
    """A received file, kept until it expires or is deleted; data sets and checkpoints made from it stay."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="Id, for `upload_id`.", examples=[EXAMPLE_ID])
    filename: str = Field(description="Name it was sent under.", examples=["biased-mnist.zip"])
    size: int = Field(description="Bytes.", examples=[5_242_880])
    sha256: str = Field(
        description="SHA-256 of its bytes, hexadecimal.", examples=["9f86d081884c7d659a2feaa0c55ad015…"]
    )
    created_at: datetime = Field(description="When it was complete.", examples=["2026-01-31T12:00:00Z"])
    expires_at: datetime = Field(description="When it is deleted by itself.", examples=["2026-02-02T12:00:00Z"])
