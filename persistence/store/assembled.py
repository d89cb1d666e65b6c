"""An upload that lies in S3 as a whole: read once for its hash, then copied to its name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from persistence.errors import StoreUnavailable
from persistence.store.multipart import MultipartArea, translated
from persistence.store.protocol import CHUNK
from persistence.store.s3_client import COPY

_BREAKS: Final = 5
_PAUSE_SECONDS: Final = 0.5

OnChunk = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Assembled:
    """An upload as S3 has it: bytes, and the ETag by which it would tell of a change."""

    size: int
    etag: str


def find(area: MultipartArea, name: UUID) -> Assembled:
    """The upload, put together. Raises `ObjectMissing`."""
    with translated(str(name)):
        head = area.client.head_object(Bucket=area.bucket, Key=area.key(name))
    return Assembled(int(head["ContentLength"]), str(head["ETag"]))


def hash_of(area: MultipartArea, name: UUID, found: Assembled, on_chunk: OnChunk) -> str:
    """SHA-256 of exactly the bytes that were found, hexadecimal. `on_chunk` is called after every MiB.

    A line that breaks is mended where it broke. Raises `StoreUnavailable` when that does not help, `ObjectMissing`.
    """
    digest, read, breaks = hashlib.sha256(), 0, 0
    while read < found.size:
        before = read
        try:
            with translated(str(name)):
                response = area.client.get_object(
                    Bucket=area.bucket, Key=area.key(name), IfMatch=found.etag, Range=f"bytes={read}-"
                )
                with response["Body"] as body:
                    while data := body.read(CHUNK):
                        digest.update(data)
                        read += len(data)
                        on_chunk()
        except StoreUnavailable as error:
            breaks = 0 if read > before else breaks + 1
            if breaks == _BREAKS:
                raise StoreUnavailable(f"the object store breaks off at byte {read}: {error}") from error
            time.sleep(_PAUSE_SECONDS)
    return digest.hexdigest()


def publish(area: MultipartArea, name: UUID, found: Assembled, sha256: str, on_chunk: OnChunk) -> None:
    """Make an object of exactly the bytes that were hashed: a copy inside S3. `on_chunk` is called now and then."""
    with translated(str(name)):
        area.client.copy(
            {"Bucket": area.bucket, "Key": area.key(name)},
            area.bucket,
            area.key_of(sha256),
            ExtraArgs={"CopySourceIfMatch": found.etag},
            Callback=lambda _bytes: on_chunk(),
            Config=COPY,
        )
