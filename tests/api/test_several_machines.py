"""API machines that share a database and a bucket, and no folder: any of them takes any request of any upload."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import boto3
import httpx
import moto.s3.models
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from api.uploads import receive, standing
from persistence import incoming_turns
from persistence.database import transaction
from persistence.errors import StoreUnavailable, UploadSuperseded
from persistence.settings import Settings
from persistence.store import s3_incoming
from persistence.store.multipart import MultipartArea
from persistence.tables import IncomingPart, IncomingUpload
from tests.api.conftest import serving
from tests.api.test_errors import problem
from tests.api.tus import TUS, begin, id_of, offset, patch
from tests.fixtures.cutting_proxy import cutting_proxy
from tests.fixtures.tus_client import upload_through
from tests.fixtures.verifying import verifier
from tests.persistence.store.conftest import s3_bucket, s3_endpoint

__all__ = ["s3_bucket", "s3_endpoint"]

CONTENT = os.urandom(900_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PART = 100_000

Verify = Callable[[UUID], None]
Machines = tuple[httpx.Client, httpx.Client]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if S3 took parts of this size."""
    monkeypatch.setattr(s3_incoming, "_SMALLEST_PART", PART)
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", PART)


@pytest.fixture
def in_s3(settings: Settings, s3_bucket: str) -> Settings:
    return settings.model_copy(update={"storage_url": f"s3://{s3_bucket}/prefix"})


@pytest.fixture
def machines(in_s3: Settings, key: str, small_parts: None) -> Iterator[Machines]:
    with ExitStack() as stack:
        made = []
        for name in ("one", "two"):
            url, _ = stack.enter_context(serving(in_s3.model_copy(update={"home": in_s3.home / name})))
            headers = {"Authorization": f"Bearer {key}"}
            made.append(stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=30)))
        yield made[0], made[1]


@pytest.fixture
def verify(in_s3: Settings) -> Iterator[Verify]:
    with verifier(in_s3) as run:
        yield run


def in_incoming(bucket: str) -> list[str]:
    """What lies in S3 of unfinished uploads, open multipart uploads with it."""
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket=bucket, Prefix="prefix/incoming/").get("Contents", [])
    return [each["Key"] for each in found + client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


def test_an_upload_goes_on_at_another_machine(machines: Machines, verify: Verify, s3_bucket: str) -> None:
    one, two = machines
    path = begin(one, len(CONTENT), sha256=SHA256)
    for number, start in enumerate(range(0, len(CONTENT), 90_001)):
        stop = min(start + 90_001, len(CONTENT))
        sent = patch(machines[number % 2], path, start, CONTENT[start:stop])
        assert (sent.status_code, sent.headers["upload-offset"]) == (204, str(stop)), sent.text
        assert offset(machines[1 - number % 2], path) == stop
        assert len(in_incoming(s3_bucket)) <= 2, "old tails stay"
    for machine in machines:
        seen = machine.get(path).json()
        assert (seen["status"], seen["received"], seen["sha256"]) == ("verifying", len(CONTENT), None)
        assert offset(machine, path) == len(CONTENT)
    verify(id_of(path))
    assert (two.get(path).json()["status"], one.get(path).json()["sha256"]) == ("complete", SHA256)
    assert in_incoming(s3_bucket) == []


@pytest.mark.parametrize("seed", range(3))
def test_lines_that_break_at_random_bytes_cost_nothing_that_arrived(
    machines: Machines, verify: Verify, s3_bucket: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "BLOCK_BYTES", 30_000)
    chance = random.Random(seed)
    path = begin(machines[0], len(CONTENT))

    def until(stop: int, start: int) -> Iterator[bytes]:
        yield CONTENT[start:stop]
        if stop < len(CONTENT):
            raise ConnectionError

    breaks, at, stuck = 0, 0, 0
    while at < len(CONTENT):
        stop = min(at + chance.randrange(1, 400_000), len(CONTENT))
        try:
            patch(chance.choice(machines), path, at, until(stop, at), **{"Content-Length": str(len(CONTENT) - at)})
        except (ConnectionError, httpx.TransportError):
            breaks += 1
        before, at = at, offset(chance.choice(machines), path)
        stuck = stuck + 1 if at == before else 0  # it may be asked before the broken request is even looked at
        assert stuck < 20
    assert breaks > 1
    verify(id_of(path))
    assert machines[0].get(path).json()["sha256"] == SHA256
    assert in_incoming(s3_bucket) == []


def test_who_hangs_at_one_machine_keeps_what_came_and_makes_room_at_the_other(
    machines: Machines, verify: Verify, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive, "IDLE_SECONDS", 0.1)
    one, two = machines
    path = begin(one, len(CONTENT))
    release = threading.Event()

    def hanging() -> Iterator[bytes]:
        yield CONTENT[:150_000]
        release.wait(20)
        yield bytes(len(CONTENT) - 150_000)

    def send() -> None:
        with contextlib.suppress(httpx.TransportError):
            patch(one, path, 0, hanging(), **{"Content-Length": str(len(CONTENT))})

    old = threading.Thread(target=send)
    old.start()
    wait_for_writer(sessions, id_of(path))
    time.sleep(0.2)
    assert offset(two, path) == 150_000
    assert patch(two, path, 150_000, CONTENT[150_000:]).status_code == 204
    release.set()
    old.join(20)
    verify(id_of(path))
    assert two.get(path).json()["sha256"] == SHA256


def wait_for_writer(sessions: sessionmaker[Session], upload_id: UUID) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with transaction(sessions) as session:
            if session.get_one(IncomingUpload, upload_id).writer is not None:
                return
        time.sleep(0.02)
    raise AssertionError("nobody writes")


def test_parts_of_a_machine_that_lost_its_turn_are_never_put_together(
    machines: Machines, verify: Verify, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still while it sends a part, for longer than anybody waits; then its part arrives after all."""
    monkeypatch.setattr(standing, "LOCK_SECONDS", 0.3)
    one, two = machines
    path = begin(one, len(CONTENT))
    asleep, awake = threading.Event(), threading.Event()
    send_part = MultipartArea.send_part

    def send_late(self: MultipartArea, *arguments: Any) -> str:
        if not asleep.is_set():
            asleep.set()
            awake.wait(20)
        return send_part(self, *arguments)

    monkeypatch.setattr(MultipartArea, "send_part", send_late)
    answers: list[httpx.Response] = []
    wrong = bytes(len(CONTENT))
    old = threading.Thread(target=lambda: answers.append(patch(one, path, 0, wrong[:PART])))
    old.start()
    assert asleep.wait(10)
    assert offset(two, path) == 0
    assert patch(two, path, 0, CONTENT[:250_000]).status_code == 204
    awake.set()
    old.join(20)
    problem(answers[0], 409, "upload_superseded")
    assert patch(two, path, 250_000, CONTENT[250_000:]).status_code == 204
    with transaction(sessions) as session:
        numbers = list(session.scalars(select(IncomingPart.number).order_by(IncomingPart.number)))
    assert numbers[0] > 1, "the number of the late part was given out once"
    verify(id_of(path))
    assert two.get(path).json()["sha256"] == SHA256


def test_a_checksum_that_is_wrong_leaves_nothing_of_its_request(machines: Machines, verify: Verify) -> None:
    one, two = machines
    path = begin(one, len(CONTENT))
    assert patch(one, path, 0, CONTENT[:250_000]).status_code == 204
    wrong = {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="}
    problem(patch(two, path, 250_000, CONTENT[250_000:], **wrong), 460, "upload_checksum_mismatch")
    assert offset(one, path) == 250_000
    assert patch(one, path, 250_000, CONTENT[250_000:]).status_code == 204
    verify(id_of(path))
    assert two.get(path).json()["sha256"] == SHA256


def test_bytes_that_are_not_the_announced_ones_fail_the_upload(
    machines: Machines, verify: Verify, s3_bucket: str
) -> None:
    one, two = machines
    path = begin(one, len(CONTENT), sha256="0" * 64)
    assert patch(one, path, 0, CONTENT).status_code == 204
    body = {"name": "a", "upload_id": str(id_of(path))}
    problem(two.post("/v1/datasets", json=body), 409, "upload_verifying")
    problem(patch(two, path, 5, b"x"), 409, "offset_mismatch")
    verify(id_of(path))
    failed = two.get(path).json()
    assert (failed["status"], failed["error"]["code"], failed["received"]) == ("failed", "checksum_mismatch", 0)
    assert SHA256 in failed["error"]["message"]
    assert two.head(path, headers=TUS).status_code == 410
    for refused in (two.post("/v1/datasets", json=body), patch(two, path, 0, b"x")):
        assert problem(refused, 410, "upload_failed")["reason"] == "checksum_mismatch"
    assert two.get("/v1/uploads?status=failed").json()["data"] == [failed]
    assert in_incoming(s3_bucket) == []
    assert two.delete(path).status_code == 204


def test_an_upload_whose_bytes_s3_has_thrown_away_is_ended(machines: Machines, s3_bucket: str) -> None:
    one, _ = machines
    path = begin(one, len(CONTENT))
    assert patch(one, path, 0, CONTENT[:250_000]).status_code == 204
    client = boto3.client("s3")
    for each in client.list_objects_v2(Bucket=s3_bucket, Prefix="prefix/incoming/")["Contents"]:
        client.delete_object(Bucket=s3_bucket, Key=each["Key"])
    problem(patch(one, path, 250_000, CONTENT[250_000:]), 410, "upload_expired")
    problem(one.get(path), 404, "upload_not_found")
    assert in_incoming(s3_bucket) == []


def test_an_upload_that_could_not_be_begun_in_s3_is_none(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> str:
        raise StoreUnavailable("the object store does not answer")

    monkeypatch.setattr(MultipartArea, "begin", away)
    response = machines[0].post("/v1/uploads", headers=TUS | {"Upload-Length": "5"})
    problem(response, 503, "service_unavailable")
    assert machines[0].get("/v1/uploads?status=receiving").json()["data"] == []


def test_a_turn_that_ended_records_nothing(machines: Machines, sessions: sessionmaker[Session]) -> None:
    path = begin(machines[0], len(CONTENT))
    upload_id = id_of(path)
    with transaction(sessions) as session:
        tenant_id = session.get_one(IncomingUpload, upload_id).tenant_id
        token = incoming_turns.take(session, tenant_id, upload_id)
    assert machines[1].delete(path).status_code == 204
    with transaction(sessions) as session, pytest.raises(UploadSuperseded):
        incoming_turns.next_part(session, upload_id, token)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections that were cut in the middle
def test_a_public_client_on_a_bad_line_brings_its_file_to_s3(machines: Machines, key: str, verify: Verify) -> None:
    with cutting_proxy(machines[0].base_url.port or 0, seed=5, longest=60_000, share=0.7) as (bad, cuts):
        address, breaks = upload_through(f"http://127.0.0.1:{bad}", key, CONTENT, seed=5, checksums=True)
    # The client may also come back before the server has let go of the cut request, and is sent away once more.
    assert min(len(cuts), breaks) > 1
    path = address.split(str(bad))[1]
    verify(id_of(path))
    assert machines[1].get(path).json()["sha256"] == SHA256
