"""Uploads over tus 1.0: what the protocol says, held against it line by line."""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.uploads import receive
from persistence import incoming_turns, incoming_uploads
from persistence.database import transaction
from persistence.errors import UploadSuperseded
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.store.file_incoming import FileIncomingWriter
from persistence.tables import IncomingUpload
from tests.api.conftest import serving
from tests.api.test_errors import problem
from tests.api.test_transactions import lost
from tests.api.test_uploads import leftovers
from tests.api.tus import BYTES, CONTENT, SHA256, TUS, begin, encoded, id_of, offset, patch, send


def test_the_service_says_what_it_can(anonymous: TestClient, settings: Settings) -> None:
    for path in ("/v1/uploads", "/v1/uploads/x"):
        response = anonymous.options(path)
        assert response.status_code == 204
        assert response.headers["tus-version"] == response.headers["tus-resumable"] == "1.0.0"
        assert set(response.headers["tus-extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "checksum",
            "expiration",
            "termination",
        }
        assert "sha1" in response.headers["tus-checksum-algorithm"].split(",")
        assert int(response.headers["tus-max-size"]) == settings.upload_max_bytes


def test_bytes_come_in_pieces_and_make_an_ordinary_upload(client: TestClient, settings: Settings) -> None:
    path = begin(client, filename="my dätä.zip")
    head = client.head(path, headers=TUS)
    assert head.headers["upload-length"] == str(len(CONTENT))
    assert head.headers["upload-metadata"] == f"filename {encoded('my dätä.zip')}"
    cuts = [0, 1, 100_000, 100_001, len(CONTENT)]
    for start, stop in itertools.pairwise(cuts):
        assert offset(client, path) == start
        response = patch(client, path, start, CONTENT[start:stop])
        assert (response.status_code, response.headers["upload-offset"]) == (204, str(stop))
        assert response.headers["tus-resumable"] == "1.0.0"
        assert ("upload-expires" in response.headers) == (stop < len(CONTENT))
    upload = client.get(path).json()
    assert (upload["status"], upload["sha256"], upload["filename"]) == ("complete", SHA256, "my dätä.zip")
    assert [file.read_bytes() for file in leftovers(settings)] == [CONTENT]
    assert client.post("/v1/datasets", json={"name": "a", "upload_id": upload["id"]}).status_code == 202
    assert offset(client, path) == len(CONTENT)
    assert patch(client, path, len(CONTENT), b"").status_code == 204
    assert problem(patch(client, path, 0, b"x"), 409, "offset_mismatch")["offset"] == len(CONTENT)


def test_the_first_bytes_may_come_with_the_creation(client: TestClient) -> None:
    headers = BYTES | {"Upload-Length": str(len(CONTENT))}
    response = client.post("/v1/uploads", content=CONTENT[:1000], headers=headers)
    assert (response.status_code, response.headers["upload-offset"]) == (201, "1000")
    path = response.headers["location"]
    assert patch(client, path, 1000, CONTENT[1000:]).status_code == 204
    whole = client.post("/v1/uploads", content=CONTENT, headers=headers)
    assert whole.headers["upload-offset"] == str(len(CONTENT))
    assert {client.get(each.headers["location"]).json()["sha256"] for each in (response, whole)} == {SHA256}


def test_an_empty_file_is_complete_at_once(client: TestClient) -> None:
    path = begin(client, 0)
    assert client.get(path).json()["sha256"] == hashlib.sha256(b"").hexdigest()
    assert offset(client, path) == 0


def test_a_wrong_offset_is_refused_and_the_right_one_named(client: TestClient) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:500])
    for wrong in (0, 499, 501, len(CONTENT)):
        response = patch(client, path, wrong, b"x")
        assert problem(response, 409, "offset_mismatch")["offset"] == 500
        assert response.headers["upload-offset"] == "500"
    assert offset(client, path) == 500


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_bytes_of_another_checksum_are_not_kept(client: TestClient, algorithm: str) -> None:
    path = begin(client)
    piece = CONTENT[:1000]
    digest = base64.b64encode(hashlib.new(algorithm, piece).digest()).decode()
    damaged = piece[:-1] + bytes([piece[-1] ^ 1])
    response = patch(client, path, 0, damaged, **{"Upload-Checksum": f"{algorithm} {digest}"})
    problem(response, 460, "upload_checksum_mismatch")
    assert offset(client, path) == 0
    assert patch(client, path, 0, piece, **{"Upload-Checksum": f"{algorithm} {digest}"}).status_code == 204
    assert patch(client, path, 1000, CONTENT[1000:]).status_code == 204
    assert client.get(path).json()["sha256"] == SHA256


def test_a_file_of_another_hash_than_announced_is_deleted(client: TestClient, settings: Settings) -> None:
    path = begin(client, sha256=hashlib.sha256(b"other").hexdigest())
    patch(client, path, 0, CONTENT[:1000])
    document = problem(patch(client, path, 1000, CONTENT[1000:]), 422, "checksum_mismatch")
    assert document["actual"] == SHA256
    problem(client.get(path), 404, "upload_not_found")
    assert leftovers(settings) == []


def test_an_unfinished_upload_can_be_seen_and_nothing_made_of_it(client: TestClient) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    upload = client.get(path).json()
    assert (upload["status"], upload["received"], upload["size"], upload["sha256"]) == (
        "receiving",
        1000,
        len(CONTENT),
        None,
    )
    assert client.get("/v1/uploads").json()["data"] == []
    assert client.get("/v1/uploads?status=receiving").json()["data"] == [upload]
    bodies = {
        "/v1/datasets": {"name": "a", "upload_id": upload["id"]},
        "/v1/checkpoints": {
            "name": "a",
            "upload_id": upload["id"],
            "architecture": "small_cnn",
            "num_classes": 2,
        },
    }
    for where, body in bodies.items():
        assert problem(client.post(where, json=body), 409, "upload_not_complete")["received"] == 1000


def test_bytes_that_were_stored_stay_as_they_are_when_the_upload_could_not_be_recorded(
    client: TestClient, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may be another tenant's by then: equal bytes are one object."""
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    with monkeypatch.context() as away:
        away.setattr(incoming_turns, "complete", Mock(side_effect=lost()))
        problem(patch(client, path, 1000, CONTENT[1000:]), 503, "service_unavailable")
    assert client.put("/v1/uploads/same", content=CONTENT).json()["sha256"] == SHA256
    with monkeypatch.context() as away:
        away.setattr(incoming_turns, "complete", Mock(side_effect=lost()))
        problem(patch(client, path, 1000, CONTENT[1000:]), 503, "service_unavailable")
    other = CONTENT[:1000] + bytes(len(CONTENT) - 1000)
    assert patch(client, path, 1000, other[1000:]).status_code == 204
    assert client.get(path).json()["sha256"] == hashlib.sha256(other).hexdigest()
    with store.open(SHA256) as kept:
        assert kept.read() == CONTENT


def test_a_terminated_upload_is_gone(client: TestClient, settings: Settings) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    response = client.delete(path, headers=TUS)
    assert (response.status_code, response.headers["tus-resumable"]) == (204, "1.0.0")
    assert client.head(path, headers=TUS).status_code == 404
    problem(patch(client, path, 1000, b"x"), 404, "upload_not_found")
    assert leftovers(settings) == []


def test_post_may_stand_for_methods_that_a_client_cannot_send(client: TestClient) -> None:
    path = begin(client)
    headers = BYTES | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert client.post(path, content=CONTENT, headers=headers).status_code == 204
    assert client.post(path, headers=TUS | {"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    problem(client.get(path), 404, "upload_not_found")


def test_an_expired_upload_is_gone_and_said_to_be(
    client: TestClient, sessions: sessionmaker[Session], settings: Settings
) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    with transaction(sessions) as session:
        session.execute(update(IncomingUpload).values(expires_at=func.now() - timedelta(seconds=1)))
    assert client.head(path, headers=TUS).status_code == 410
    problem(patch(client, path, 1000, b"x"), 410, "upload_expired")
    problem(client.get(path), 410, "upload_expired")
    assert client.get("/v1/uploads?status=receiving").json()["data"] == []
    with transaction(sessions) as session:
        session.execute(update(IncomingUpload).values(expires_at=func.now() - timedelta(days=2)))
        assert incoming_uploads.forget(session) == 1
    assert client.head(path, headers=TUS).status_code == 404


def test_bytes_that_got_lost_end_the_upload(client: TestClient, store: ObjectStore) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    store.incoming.discard(id_of(path))
    problem(patch(client, path, 1000, b"x"), 410, "upload_expired")


def test_another_tenants_upload_does_not_exist(client: TestClient, stranger: dict[str, str]) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    assert client.head(path, headers=TUS | stranger).status_code == 404
    problem(patch(client, path, 1000, b"x", **stranger), 404, "upload_not_found")
    for call in (client.get, client.delete):
        problem(call(path, headers=TUS | stranger), 404, "upload_not_found")
    body = {"name": "a", "upload_id": str(id_of(path))}
    problem(client.post("/v1/datasets", json=body, headers=stranger), 404, "upload_not_found")
    assert client.get("/v1/uploads?status=receiving", headers=stranger).json()["data"] == []
    assert offset(client, path) == 1000


def test_what_arrived_before_a_break_stays(live: httpx.Client) -> None:
    path = begin(live)

    def broken() -> Any:
        yield CONTENT[:123_456]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        patch(live, path, 0, broken(), **{"Content-Length": str(len(CONTENT))})
    deadline = time.monotonic() + 10
    while offset(live, path) == 0 and time.monotonic() < deadline:  # the request may not even have been looked at
        time.sleep(0.02)
    assert offset(live, path) == 123_456
    assert patch(live, path, 123_456, CONTENT[123_456:]).status_code == 204
    assert live.get(path).json()["sha256"] == SHA256


def test_a_newer_request_takes_over_from_one_that_hangs(
    live: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken line that nobody told us about must not lock its owner out."""
    monkeypatch.setattr(receive, "IDLE_SECONDS", 0.1)
    path = begin(live)
    release = threading.Event()

    def hanging() -> Any:
        yield CONTENT[:1000]
        release.wait(20)
        yield CONTENT[1000:]

    old = threading.Thread(target=send, args=(live, path, hanging()))
    old.start()
    deadline = time.monotonic() + 10
    while not leftovers(settings) and time.monotonic() < deadline:
        time.sleep(0.02)
    with httpx.Client(base_url=live.base_url, headers=live.headers, timeout=20) as other:
        assert offset(other, path) == 1000
        assert patch(other, path, 1000, CONTENT[1000:]).status_code == 204
        assert other.get(path).json()["sha256"] == SHA256
    release.set()
    old.join(20)


def test_who_may_only_read_does_not_stop_the_one_who_sends(
    client: TestClient, make_key: Callable[..., str], sessions: sessionmaker[Session]
) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    with transaction(sessions) as session:
        tenant_id = session.get_one(IncomingUpload, id_of(path)).tenant_id
        token = incoming_turns.take(session, tenant_id, id_of(path))
    reader = {"Authorization": f"Bearer {make_key('acme', scope='read')}"}
    assert client.head(path, headers=TUS | reader).headers["upload-offset"] == "1000"
    with transaction(sessions) as session:
        assert incoming_turns.start(session, id_of(path), token).received == 1000
    assert offset(client, path) == 1000
    with transaction(sessions) as session, pytest.raises(UploadSuperseded):
        incoming_turns.check(session, id_of(path), token)


def test_any_process_goes_on_where_another_stopped(settings: Settings, key: str) -> None:
    """Also one that was started later: nothing about an upload is in memory."""
    headers = {"Authorization": f"Bearer {key}"}
    with serving(settings) as (one, _), serving(settings) as (two, _):
        with (
            httpx.Client(base_url=one, headers=headers) as first,
            httpx.Client(base_url=two, headers=headers) as second,
        ):
            path = begin(first)
            for start in range(0, 200_000, 50_000):
                client = second if start % 100_000 else first
                assert patch(client, path, start, CONTENT[start : start + 50_000]).status_code == 204
    with serving(settings) as (three, _), httpx.Client(base_url=three, headers=headers) as client:
        assert patch(client, path, 200_000, CONTENT[200_000:]).status_code == 204
        assert client.get(path).json()["sha256"] == SHA256


def test_progress_is_safe_before_the_request_ends(live: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileIncomingWriter, "checkpoint_bytes", 50_000)
    monkeypatch.setattr(receive, "BLOCK_BYTES", 10_000)
    path = begin(live)
    release = threading.Event()

    def slow() -> Any:
        yield CONTENT[:200_000]
        release.wait(20)
        yield CONTENT[200_000:]

    thread = threading.Thread(target=send, args=(live, path, slow()))
    thread.start()
    with httpx.Client(base_url=live.base_url, headers=live.headers) as other:
        deadline = time.monotonic() + 10
        while other.get(path).json()["received"] < 50_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert other.get(path).json()["received"] >= 50_000
    release.set()
    thread.join(20)
    assert live.get(path).json()["sha256"] == SHA256
