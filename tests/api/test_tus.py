"""Uploads over tus 1.0: what the protocol says, held against it line by line."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import os
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.main import create_app
from api.uploads import append, receive
from persistence import incoming_uploads, tenants
from persistence.database import transaction
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.tables import IncomingUpload, Tenant
from tests.api.conftest import serving
from tests.api.test_errors import problem
from tests.api.test_uploads import leftovers

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


def patch(client: Any, path: str, offset: int, content: bytes, **headers: str) -> Any:
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
    response = patch(client, path, 0, piece[:-1] + b"?", **{"Upload-Checksum": f"{algorithm} {digest}"})
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
    monkeypatch.setattr(append, "CHECKPOINT_BYTES", 50_000)
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


class TestQuota:
    def limited(self, sessions: sessionmaker[Session], **quotas: int) -> None:
        with transaction(sessions) as session:
            session.execute(update(Tenant).where(Tenant.name == "acme").values(**quotas))
            assert tenants.get_or_create(session, "acme")

    def test_bytes_that_are_announced_count(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_bytes=len(CONTENT) + 10)
        path = begin(client)
        headers = TUS | {"Upload-Length": "11"}
        document = problem(client.post("/v1/uploads", headers=headers), 413, "quota_exceeded")
        assert (document["limit"], document["usage"], document["requested"]) == (
            len(CONTENT) + 10,
            len(CONTENT),
            11,
        )
        problem(client.put("/v1/uploads/a", content=b"x" * 11), 413, "quota_exceeded")
        problem(client.put("/v1/uploads/a", content=iter([b"x" * 11])), 413, "quota_exceeded")
        assert client.put("/v1/uploads/a", content=b"x" * 10).status_code == 201
        client.delete(path)
        assert client.post("/v1/uploads", headers=headers).status_code == 201

    def test_the_same_bytes_count_once(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_bytes=2 * len(CONTENT))
        first = client.put("/v1/uploads/a", content=CONTENT)
        assert client.post("/v1/datasets", json={"name": "a", "upload_id": first.json()["id"]}).status_code == 202
        assert [client.put("/v1/uploads/a", content=CONTENT).status_code for _ in range(3)] == [201] * 3

    def test_of_many_at_once_only_those_that_fit(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_bytes=500)
        answers: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(
                    client.post("/v1/uploads", headers=TUS | {"Upload-Length": "100"}).status_code
                )
            )
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [201] * 5 + [413] * 7

    def test_data_sets(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_datasets=1)
        body = {"name": "a", "upload_id": client.put("/v1/uploads/a", content=b"x").json()["id"]}
        assert client.post("/v1/datasets", json=body).status_code == 202
        document = problem(client.post("/v1/datasets", json=body), 429, "too_many_datasets")
        assert (document["limit"], document["usage"]) == (1, 1)


def test_a_file_for_which_there_is_no_room_is_refused_unsent(settings: Settings, key: str) -> None:
    full = settings.model_copy(update={"disk_headroom_bytes": 2**60})
    with TestClient(create_app(full), headers={"Authorization": f"Bearer {key}"}) as client:
        response = client.post("/v1/uploads", headers=TUS | {"Upload-Length": "5"})
        assert problem(response, 507, "out_of_disk")["needed"] > 2**60
        assert client.get("/v1/uploads?status=receiving").json()["data"] == []


class TestKnownBytes:
    def body(self, sha256: str = SHA256, size: int = len(CONTENT)) -> dict[str, Any]:
        return {"filename": "again.zip", "size": size, "sha256": sha256.upper()}

    def test_are_not_sent_twice(self, client: TestClient) -> None:
        first = client.put("/v1/uploads/a", content=CONTENT).json()
        again = client.post("/v1/uploads", json=self.body())
        assert again.status_code == 201
        assert again.headers["location"] == f"/v1/uploads/{again.json()['id']}"
        assert (again.json()["status"], again.json()["sha256"]) == ("complete", SHA256)
        assert again.json()["id"] != first["id"]

    def test_are_known_as_long_as_a_data_set_has_them(self, client: TestClient) -> None:
        first = client.put("/v1/uploads/a", content=CONTENT)
        client.post("/v1/datasets", json={"name": "a", "upload_id": first.json()["id"]})
        client.delete(first.headers["location"])
        assert client.post("/v1/uploads", json=self.body()).json()["status"] == "complete"

    def test_are_known_with_creation_with_upload(self, client: TestClient) -> None:
        client.put("/v1/uploads/a", content=CONTENT)
        headers = BYTES | {"Upload-Length": str(len(CONTENT)), "Upload-Metadata": f"sha256 {encoded(SHA256)}"}
        response = client.post("/v1/uploads", headers=headers)
        assert (response.status_code, response.headers["upload-offset"]) == (201, str(len(CONTENT)))

    def test_of_another_tenant_are_not_known(self, client: TestClient, stranger: dict[str, str]) -> None:
        client.put("/v1/uploads/a", content=CONTENT)
        made = client.post("/v1/uploads", json=self.body(), headers=stranger).json()
        assert (made["status"], made["received"]) == ("receiving", 0)

    def test_must_have_the_announced_size(self, client: TestClient) -> None:
        client.put("/v1/uploads/a", content=CONTENT)
        assert client.post("/v1/uploads", json=self.body(size=5)).json()["status"] == "receiving"

    def test_announced_bytes_are_held_against_their_hash(self, client: TestClient) -> None:
        made = client.post("/v1/uploads", json=self.body())
        assert made.json()["status"] == "receiving"
        assert patch(client, made.headers["location"], 0, CONTENT).status_code == 204

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"{", 400, "malformed_json"),
            (b'{"size": 5}', 422, "invalid_request"),
            (b'{"filename": "a", "size": -1}', 422, "invalid_request"),
            (b'{"filename": "a", "size": 1, "more": 1}', 422, "invalid_request"),
            (b'{"filename": "a", "size": 1, "multipart": true}', 409, "multipart_unavailable"),
            (b"[" * 100_000, 413, "content_too_large"),
        ],
    )
    def test_bodies_that_cannot_be_read(self, client: TestClient, body: bytes, status: int, code: str) -> None:
        response = client.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
        problem(response, status, code)

    def test_another_media_type_is_refused(self, client: TestClient) -> None:
        problem(client.post("/v1/uploads", content=b"x"), 415, "unsupported_media_type")
