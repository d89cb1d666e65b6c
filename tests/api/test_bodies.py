"""A request's body is bounded, in bytes and in time, before anybody has looked at its key."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from api import middleware
from api.uploads import creation
from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.operations import Operation, operations

PIECE = b" " * 2**16
LARGE = 40 * 2**20
WITH_JSON = [
    operation
    for operation in operations()
    if "application/json" in operation.described.get("requestBody", {}).get("content", {})
]


def read_of(client: TestClient, operation: Operation, media_type: str, headers: dict[str, str]) -> tuple[int, int]:
    """The status of the answer to 40 MiB sent to an operation, and how many bytes of them were read."""
    path = operation.path.format(**{name: uuid.uuid4() for name in operation.parameters})
    taken, status = 0, 0

    async def receive() -> Message:
        nonlocal taken
        taken += len(PIECE)
        return {"type": "http.request", "body": PIECE, "more_body": taken < LARGE}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    named = {"content-type": media_type, "content-length": str(LARGE), "host": "test"} | headers
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": operation.method.upper(),
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    return status, taken


@pytest.mark.parametrize("credential", [{}, {"authorization": "Bearer mt_made-up"}])
@pytest.mark.parametrize("media_type", ["application/json", "application/offset+octet-stream"])
def test_no_more_than_a_mebibyte_is_read_of_whoever_has_no_key(
    anonymous: TestClient, media_type: str, credential: dict[str, str]
) -> None:
    assert len(WITH_JSON) > 8
    for operation in WITH_JSON:
        status, taken = read_of(anonymous, operation, media_type, credential)
        assert status in (401, 413), (str(operation), status)
        assert taken <= middleware.JSON_BODY_MAX_BYTES + len(PIECE), (str(operation), taken)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with serving(settings) as (found, _):
        yield found


def dripping(url: str, path: str, key: str) -> bytes:
    """All that is answered to a JSON body that comes a byte at a time, until the service hangs up."""
    port = int(url.rsplit(":", 1)[1])
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode())
        connection.settimeout(0.05)
        for _ in range(200):
            try:
                connection.sendall(b" ")
                piece = connection.recv(10_000)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if not piece:
                break
            answer += piece
        else:
            pytest.fail("the connection is still open")
    return answer


def test_a_sender_that_never_ends_does_not_keep_its_connection(
    url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "JSON_BODY_SECONDS", 0.3)
    monkeypatch.setattr(creation, "STALL_SECONDS", 0.3)
    for path, credential in (("/v1/jobs", "none"), ("/v1/jobs", key), ("/v1/uploads", key)):
        answer = dripping(url, path, credential)
        assert answer.startswith(b"HTTP/1.1 408 "), (path, answer)
        assert b'"code": "request_timeout"' in answer, path
