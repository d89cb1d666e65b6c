"""Uploads are streamed, checked, and leave nothing behind when they fail."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from api.main import create_app
from api.uploads import receive
from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.seeds import Seeds
from tests.api.test_errors import problem

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def leftovers(settings: Settings) -> list[Path]:
    """Files of the object store, whole or half-made."""
    return [path for path in (settings.home / "objects").rglob("*") if path.is_file()]


def test_an_upload_is_stored_and_described(client: TestClient, settings: Settings) -> None:
    response = client.put("/v1/uploads/my%20data.zip", content=CONTENT)
    assert response.status_code == 201, response.text
    upload = response.json()
    assert (upload["filename"], upload["size"], upload["sha256"]) == ("my data.zip", len(CONTENT), SHA256)
    assert response.headers["location"] == f"/v1/uploads/{upload['id']}"
    assert client.get(response.headers["location"]).json() == upload
    assert client.get("/v1/uploads").json() == {"data": [upload], "has_more": False, "next": None}
    assert [path.read_bytes() for path in leftovers(settings)] == [CONTENT]


def test_a_deleted_upload_is_gone(client: TestClient) -> None:
    path = client.put("/v1/uploads/a", content=b"").headers["location"]
    assert client.delete(path).status_code == 204
    problem(client.delete(path), 404, "upload_not_found")


def test_a_body_without_a_length_is_accepted(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, len(CONTENT), 7777):
            yield CONTENT[start : start + 7777]

    assert client.put("/v1/uploads/a", content=pieces()).json()["sha256"] == SHA256


def test_many_blocks_keep_their_order(live: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "BLOCK_BYTES", 10_000)
    assert live.put("/v1/uploads/a", content=CONTENT).json()["sha256"] == SHA256


def test_the_announced_hash_is_checked(client: TestClient, settings: Settings) -> None:
    good = client.put("/v1/uploads/a", content=CONTENT, headers={"X-Content-SHA256": SHA256.upper()})
    assert good.status_code == 201
    client.delete(good.headers["location"])
    kept = leftovers(settings)
    other = hashlib.sha256(b"other").hexdigest()
    response = client.put("/v1/uploads/a", content=b"this", headers={"X-Content-SHA256": other})
    document = problem(response, 422, "checksum_mismatch")
    assert (document["expected"], document["actual"]) == (other, hashlib.sha256(b"this").hexdigest())
    problem(client.put("/v1/uploads/a", content=b"", headers={"X-Content-SHA256": "abc"}), 422, "invalid_request")
    assert leftovers(settings) == kept
    assert client.get("/v1/uploads").json()["data"] == []


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_beyond_the_limit_names_the_limit(settings: Settings, key: str, announced: bool) -> None:
    small = settings.model_copy(update={"upload_max_bytes": 100_000})
    with TestClient(create_app(small), headers={"Authorization": f"Bearer {key}"}) as client:
        content = CONTENT if announced else iter([CONTENT[:90_000], CONTENT[90_000:]])
        assert problem(client.put("/v1/uploads/a", content=content), 413, "content_too_large")["limit"] == 100_000
        assert leftovers(small) == []
        assert client.put("/v1/uploads/a", content=CONTENT[:100_000]).status_code == 201


def test_a_full_disk(settings: Settings, key: str) -> None:
    full = settings.model_copy(update={"disk_headroom_bytes": 2**60})
    with TestClient(create_app(full), headers={"Authorization": f"Bearer {key}"}) as client:
        document = problem(client.put("/v1/uploads/a", content=CONTENT), 507, "out_of_disk")
        assert document["needed"] >= 2**60 > document["free"]
        assert leftovers(full) == []


def test_a_body_that_stops_coming(client: TestClient, settings: Settings, key: str) -> None:
    with serving(settings) as (url, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(receive, "STALL_SECONDS", 0.2)
        with unfinished(url, key) as connection:
            connection.settimeout(10)
            assert b" 408 " in connection.recv(10_000).split(b"\r\n")[0]
        assert leftovers(settings) == []


def test_a_client_that_disconnects_leaves_nothing(settings: Settings, key: str, seeds: Seeds) -> None:
    with serving(settings) as (url, _):
        connection = unfinished(url, key)
        deadline = time.monotonic() + 10
        while not leftovers(settings):
            assert time.monotonic() < deadline, "nothing arrived"
            time.sleep(0.01)
        connection.close()
        while leftovers(settings):
            assert time.monotonic() < deadline, "something stayed"
            time.sleep(0.01)
    assert seeds.uploads_left() == 0


def unfinished(url: str, key: str) -> socket.socket:
    """A connection on which half of an upload was sent."""
    port = int(url.rsplit(":", 1)[1])
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"PUT /v1/uploads/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: 600000\r\n\r\n"
    connection.sendall(head.encode() + CONTENT)
    return connection


@pytest.mark.parametrize("name", ["x" * 256, "%00", "a%0Ab", "%7F"])
def test_a_name_that_cannot_be_kept(client: TestClient, name: str) -> None:
    problem(client.put(f"/v1/uploads/{name}", content=b"a"), 422, "invalid_request")


def test_the_same_bytes_may_be_sent_twice(client: TestClient, settings: Settings) -> None:
    first, second = (client.put("/v1/uploads/a", content=CONTENT).json() for _ in range(2))
    assert first["id"] != second["id"]
    assert len(leftovers(settings)) == 1
