"""tus requests that cannot be read, or bring too much."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.test_errors import problem
from tests.api.tus import BYTES, CONTENT, TUS, begin, offset, patch


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "5"}, 412, "tus_version_unsupported"),
        (TUS, 400, "malformed_request"),
        (TUS | {"Upload-Length": "-1"}, 400, "malformed_request"),
        (TUS | {"Upload-Length": "1e3"}, 400, "malformed_request"),
        (TUS | {"Upload-Length": "9" * 30}, 400, "malformed_request"),
        (TUS | {"Upload-Defer-Length": "1"}, 400, "malformed_request"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "filename ???"}, 400, "malformed_request"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "a YQ==,a YQ=="}, 400, "malformed_request"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": f"a {'YWFh' * 2000}"}, 400, "malformed_request"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "filename AAAA"}, 422, "invalid_request"),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "sha256 YWFh"}, 422, "invalid_request"),
        (TUS | {"Upload-Length": str(2**40)}, 413, "content_too_large"),
    ],
)
def test_creations_that_cannot_be_read(client: TestClient, headers: dict[str, str], status: int, code: str) -> None:
    response = client.post("/v1/uploads", headers=headers)
    problem(response, status, code)
    if status == 412:
        assert response.headers["tus-version"] == "1.0.0"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Tus-Resumable": "1.1"}, 412, "tus_version_unsupported"),
        ({"Content-Type": "application/octet-stream"}, 415, "unsupported_media_type"),
        ({"Upload-Offset": "٣"}, 400, "malformed_request"),
        ({"Upload-Offset": ""}, 400, "malformed_request"),
        ({"Upload-Checksum": "crc64 YWFh"}, 400, "malformed_request"),
        ({"Upload-Checksum": "sha1 ###"}, 400, "malformed_request"),
    ],
)
def test_additions_that_cannot_be_read(client: TestClient, headers: dict[str, str], status: int, code: str) -> None:
    path = begin(client)
    raw = {name: value.encode() for name, value in (BYTES | {"Upload-Offset": "0"} | headers).items()}
    binary: Any = raw  # a test client sends text as Latin-1, which has no such digits
    problem(client.patch(path, content=b"x", headers=binary), status, code)
    assert offset(client, path) == 0


def test_more_bytes_than_announced_are_refused(client: TestClient) -> None:
    path = begin(client, 1000)
    problem(patch(client, path, 0, CONTENT[:1001]), 413, "content_too_large")
    response = client.patch(
        path, content=iter([CONTENT[:900], CONTENT[900:2000]]), headers=BYTES | {"Upload-Offset": "0"}
    )
    problem(response, 413, "content_too_large")
    assert offset(client, path) == 0
