"""The words of tus 1.0 (https://tus.io/protocols/resumable-upload): headers in and out."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, Protocol

from fastapi import Request

from api.errors import ApiError

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,checksum,expiration,termination"
ALGORITHMS: Final = ("sha256", "sha1", "md5")
OFFSET_MEDIA_TYPE: Final = "application/offset+octet-stream"
RESUMABLE: Final = {"Tus-Resumable": VERSION}
_METADATA_BYTES: Final = 4096
_LARGEST: Final = 2**62


class Hash(Protocol):
    """A hash under way."""

    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of one request should hash to."""

    algorithm: str
    digest: bytes

    def matches(self, data: Hash) -> bool:
        """Whether these bytes are the announced ones."""
        return data.digest() == self.digest

    def start(self) -> Hash:
        """A hash of this algorithm; it guards against accidents, not against attackers."""
        return hashlib.new(self.algorithm, usedforsecurity=False)


def capabilities(largest: int) -> dict[str, str]:
    """What an OPTIONS request is told."""
    return {
        **RESUMABLE,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(largest),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def require_version(request: Request) -> None:
    """Raises `ApiError` (412) unless the client speaks this version."""
    spoken = request.headers.get("tus-resumable")
    if spoken != VERSION:
        detail = f"Send 'Tus-Resumable: {VERSION}'; got {spoken!r}."
        raise ApiError("tus_version_unsupported", detail, headers={"Tus-Version": VERSION})


def length_of(request: Request) -> int:
    """`Upload-Length`. Raises `ApiError` (400)."""
    if "upload-defer-length" in request.headers:
        raise ApiError("malformed_request", "Upload-Defer-Length is not supported: send Upload-Length.")
    return _number(request, "Upload-Length")


def offset_of(request: Request) -> int:
    """`Upload-Offset`. Raises `ApiError` (400)."""
    return _number(request, "Upload-Offset")


def has_body(request: Request) -> bool:
    """Whether the request brings bytes of the file, by its media type."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower() == OFFSET_MEDIA_TYPE


def metadata_of(request: Request) -> tuple[str | None, dict[str, str]]:
    """`Upload-Metadata` as it came, and decoded. Raises `ApiError` (400)."""
    header = request.headers.get("upload-metadata")
    if header is None or not header.strip():
        return None, {}
    if len(header) > _METADATA_BYTES:
        raise ApiError("malformed_request", f"Upload-Metadata has more than {_METADATA_BYTES} bytes.")
    found: dict[str, str] = {}
    for pair in header.split(","):
        name, _, encoded = pair.strip().partition(" ")
        if not name or name in found or not name.isascii():
            raise ApiError("malformed_request", "Upload-Metadata has an empty key, or one that comes twice.")
        try:
            found[name] = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise ApiError("malformed_request", f"Upload-Metadata's {name[:50]!r} is not Base64 of UTF-8.") from None
    return header, found


def checksum_of(request: Request) -> Checksum | None:
    """`Upload-Checksum`, if any. Raises `ApiError` (400)."""
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        detail = f"Upload-Checksum uses {algorithm[:20]!r}: use one of {', '.join(ALGORITHMS)}."
        raise ApiError("malformed_request", detail)
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError("malformed_request", "Upload-Checksum's digest is not Base64.") from None
    return Checksum(algorithm, digest)


def progress(offset: int, expires_at: datetime | None) -> dict[str, str]:
    """What every answer about an upload tells. A complete upload's expiry is no business of the protocol."""
    expiry = {} if expires_at is None else {"Upload-Expires": format_datetime(expires_at.astimezone(UTC), usegmt=True)}
    return {**RESUMABLE, "Upload-Offset": str(offset), "Cache-Control": "no-store", **expiry}


def announced(headers: Mapping[str, str]) -> int | None:
    """`Content-Length`, if it is a number."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > _LARGEST:
        raise ApiError("malformed_request", f"{name} must be a whole number of bytes, got {text[:30]!r}.")
    return int(text)
