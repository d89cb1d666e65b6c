"""Uploads that outlive a bad line: tus 1.0, going on where the service says.

Nothing is remembered on this machine. An unfinished upload of the same bytes is found on the service by the SHA-256
that it was announced with, so that the command, given again, here or elsewhere, goes on with it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from cli.client import Advance, Client
from cli.errors import ConnectionFailed, Problem, UsageError

_CHUNK_BYTES: Final = 2**20
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_ATTEMPTS: Final = 10
_POLL_SECONDS: Final = 0.5
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_PASSING: Final = frozenset({408, 409, 423, 429, 500, 502, 503, 504})


def resumable_upload(
    client: Client,
    path: Path,
    *,
    advance: Advance = lambda _done, _total: None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Send a file, or what the service lacks of it; returns the upload, complete, with its `id`.

    A service that stores in S3 reads the file once more when all of it is there, which is waited for. Raises
    `UsageError` for a file that cannot be read or changes meanwhile, `Problem` for an answer that will not change,
    `ConnectionFailed` after ten attempts in a row that brought the upload no further.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    upload = _under_way(client, sha256, size) or _begin(client, path, sha256, size)
    address = f"/v1/uploads/{upload['id']}"
    failures, offset = 0, int(upload["received"])
    while upload["status"] == "receiving":
        advance(offset, size)
        try:
            _send(client, address, path, offset, size, advance)
        except (httpx.TransportError, _PassingProblem) as error:
            failures += 1
            if failures == _ATTEMPTS:
                raise ConnectionFailed(
                    f"the upload got no further than {offset} of {size} bytes ({error or type(error).__name__}); "
                    "give the same command again to go on with it"
                ) from error
            sleep(min(_FIRST_PAUSE_SECONDS * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS))
        reached = _offset(client, address)
        if reached is not None:
            failures = 0 if reached > offset else failures
            offset = reached
        upload = client.get(address)
    advance(size, size)
    return _verified(client, address, upload, sleep)


class _PassingProblem(Exception):
    """An answer after which the same may succeed."""


def _under_way(client: Client, sha256: str, size: int) -> dict[str, Any] | None:
    for status in ("receiving", "verifying"):
        for upload in client.pages("/v1/uploads", status=status):
            if (upload.get("expected_sha256"), upload["size"], upload.get("multipart")) == (sha256, size, None):
                return upload
    return None


def _verified(client: Client, address: str, upload: dict[str, Any], sleep: Callable[[float], None]) -> dict[str, Any]:
    while upload["status"] == "verifying":
        sleep(_POLL_SECONDS)
        upload = client.get(address)
    if upload["status"] == "failed":
        error = upload["error"]
        raise Problem(410, {"title": "The upload failed", "code": error["code"], "detail": error["message"]})
    return upload


def _begin(client: Client, path: Path, sha256: str, size: int) -> dict[str, Any]:
    begun: dict[str, Any] = client.post("/v1/uploads", {"filename": path.name, "size": size, "sha256": sha256})
    return begun


def _send(client: Client, address: str, path: Path, offset: int, size: int, advance: Advance) -> None:
    headers = {
        **_TUS,
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size - offset),
        "Upload-Offset": str(offset),
    }

    def content() -> Iterator[bytes]:
        done = offset
        with path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(min(_CHUNK_BYTES, size - done)):
                yield chunk
                done += len(chunk)
                advance(done, size)
        if done < size:
            raise UsageError(f"{path} has become shorter while it was sent")

    response = client.http.patch(address, content=content(), headers=headers)
    if response.status_code in _PASSING:
        raise _PassingProblem(f"the service answered {response.status_code}")
    client.require_success(response)


def _offset(client: Client, address: str) -> int | None:
    """Where to go on; None when nobody can tell at this moment. Raises `Problem` when the upload is no more."""
    try:
        response = client.http.head(address, headers=_TUS)
    except httpx.TransportError:
        return None
    if response.status_code in _PASSING:
        return None
    if not response.is_success:
        raise Problem(response.status_code, {"detail": "the upload has expired or was deleted: give the command again"})
    return int(response.headers["Upload-Offset"])
