"""What an upload looks like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self, cast
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.ids import EXAMPLE_ID
from api.pages import PageQuery
from api.text import Printable
from persistence.store.protocol import ObjectStore
from persistence.tables import IncomingUpload, Upload

Status = Literal["receiving", "verifying", "complete", "failed"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]
_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class UploadCreate(BaseModel):
    """Announce a file that is to be sent, or that the service has already."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"filename": "biased-mnist.zip", "size": 5_242_880, "sha256": _HASH}]},
    )

    filename: Printable = Field(min_length=1, max_length=255, description="Its name.", examples=["biased-mnist.zip"])
    size: int = Field(ge=0, le=2**62, description="Its bytes.", examples=[5_242_880])
    sha256: Sha256 | None = Field(
        default=None,
        description="Its SHA-256, hexadecimal. If your tenant has sent these bytes before, the upload is complete at "
        "once; otherwise the bytes that come must have this hash.",
        examples=[_HASH],
    )
    multipart: bool = Field(
        default=False,
        description="Send the parts to S3 yourself, over signed addresses; only where the service stores in S3.",
        examples=[False],
    )


class Multipart(BaseModel):
    """How an upload that goes to S3 directly is cut up."""

    part_size: int = Field(description="Bytes of every part but the last.", examples=[16_777_216])
    parts: int = Field(description="Number of parts.", examples=[3])


class UploadError(BaseModel):
    """Why an upload failed."""

    code: str = Field(description="Stable name of the reason.", examples=["checksum_mismatch"])
    message: str = Field(description="What was wrong.", examples=["The sha256 is another than was announced."])


class UploadRead(BaseModel):
    """A file, received or being received, kept until it expires or is deleted; what is made from it stays."""

    id: UUID = Field(description="Id, for `upload_id`.", examples=[EXAMPLE_ID])
    filename: str = Field(description="Name it was sent under.", examples=["biased-mnist.zip"])
    status: Status = Field(
        description="`receiving`: bytes are missing. `verifying`: all are in S3, and are read once, in the background. "
        "`complete`: it can become something. `failed`: its bytes were not the announced ones, and are deleted.",
        examples=["complete"],
    )
    size: int = Field(description="Bytes of the whole file.", examples=[5_242_880])
    received: int = Field(description="Bytes that are here; where to go on.", examples=[5_242_880])
    sha256: str | None = Field(
        description="SHA-256 of its bytes, hexadecimal; null until it is complete.", examples=[_HASH]
    )
    expected_sha256: str | None = Field(
        default=None, description="SHA-256 that an unfinished upload was announced with.", examples=[None]
    )
    multipart: Multipart | None = Field(default=None, description="For parts that go to S3.", examples=[None])
    error: UploadError | None = Field(default=None, description="Why it failed.", examples=[None])
    created_at: datetime = Field(description="When it was begun.", examples=["2026-01-31T12:00:00Z"])
    expires_at: datetime = Field(description="When it is deleted by itself.", examples=["2026-02-02T12:00:00Z"])

    @classmethod
    def of(cls, upload: Upload) -> Self:
        """A complete upload."""
        return cls(
            id=upload.id,
            filename=upload.filename,
            status="complete",
            size=upload.size,
            received=upload.size,
            sha256=upload.sha256,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
        )

    @classmethod
    def under_way(cls, upload: IncomingUpload, store: ObjectStore) -> Self:
        """An upload that is not complete."""
        multipart, area = None, store.multipart
        if upload.direct and area is not None and upload.status == "receiving":
            multipart = Multipart(part_size=area.part_size(upload.size), parts=area.part_count(upload.size))
        return cls(
            id=upload.id,
            filename=upload.filename,
            status=cast("Status", upload.status),
            size=upload.size,
            received=upload.received,
            sha256=None,
            expected_sha256=upload.expected_sha256,
            multipart=multipart,
            error=UploadError.model_validate(upload.error) if upload.status == "failed" else None,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
        )


class UploadQuery(PageQuery):
    """Query of the list of uploads."""

    status: Status = Field(default="complete", description="Only those with this status.", examples=["receiving"])


class PartsRequest(BaseModel):
    """Ask for addresses of parts."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"numbers": [1, 2, 3]}]})

    numbers: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(
        min_length=1, max_length=1000, description="Parts, counted from 1.", examples=[[1, 2, 3]]
    )


class PartUrl(BaseModel):
    """Where one part goes, with PUT; the answer's `ETag` header is asked for in the end."""

    number: int = Field(description="The part.", examples=[1])
    url: str = Field(description="Signed address.", examples=["https://bucket.s3.amazonaws.com/…"])


class PartUrls(BaseModel):
    """Addresses of parts."""

    data: list[PartUrl] = Field(description="One for each number.")
    expires_in: int = Field(description="Seconds for which they work.", examples=[3600])


class SentPart(BaseModel):
    """A part that S3 has."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(ge=1, le=10_000, description="The part.", examples=[1])
    etag: Printable = Field(min_length=1, max_length=100, description="Its `ETag` from S3.", examples=['"9b2c…"'])


class PartsSent(BaseModel):
    """All parts are sent."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"parts": [{"number": 1, "etag": '"9b2c…"'}]}]}
    )

    parts: list[SentPart] = Field(min_length=1, max_length=10_000, description="Every part, in any order.")
