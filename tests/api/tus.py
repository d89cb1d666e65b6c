"""tus 1.0, spoken by hand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from typing import Any
from uuid import UUID

import httpx
from starlette.testclient import TestClient

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def begin(client: TestClient | httpx.Client, size: int = len(CONTENT), **metadata: str) -> str:
    """The path of a new upload."""
    pairs = ",".join(f"{name} {encoded(value)}" for name, value in ({"filename": "a.zip"} | metadata).items())
    headers = TUS | {"Upload-Length": str(size), "Upload-Metadata": pairs}
    response = client.post("/v1/uploads", headers=headers)
    assert response.status_code == 201, response.text
    return str(response.headers["location"])


def patch(client: Any, path: str, offset: int, content: Any, **headers: str) -> Any:
    return client.patch(path, content=content, headers=BYTES | {"Upload-Offset": str(offset)} | headers)


def send(client: httpx.Client, path: str, content: Any) -> None:
    """Send all of it from its first byte, whatever becomes of it; announced in full, as every client does."""
    with contextlib.suppress(httpx.TransportError):
        patch(client, path, 0, content, **{"Content-Length": str(len(CONTENT))})


def offset(client: Any, path: str) -> int:
    response = client.head(path, headers=TUS)
    assert response.status_code == 200, response.status_code
    assert response.headers["cache-control"] == "no-store"
    return int(response.headers["upload-offset"])


def id_of(path: str) -> UUID:
    return UUID(path.rsplit("/", 1)[1])
