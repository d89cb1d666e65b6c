"""The command line's uploads, over a line that breaks, to the real service."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from cli.client import Client
from cli.errors import ConnectionFailed, Problem, UsageError
from cli.resumable import resumable_upload
from persistence.database import transaction
from persistence.settings import Settings
from persistence.tables import IncomingUpload
from tests.api.conftest import key, make_key, serving
from tests.fixtures.cutting_proxy import cutting_proxy
from tests.fixtures.verifying import verifier
from tests.persistence.store.conftest import s3_bucket, s3_endpoint

__all__ = ["key", "make_key", "s3_bucket", "s3_endpoint"]

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def service(settings: Settings) -> Iterator[str]:
    with serving(settings) as (url, _):
        yield url


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "my data.zip"
    path.write_bytes(CONTENT)
    return path


def test_a_file_arrives_whole_and_is_not_sent_twice(service: str, key: str, archive: Path) -> None:
    steps: list[tuple[int, int]] = []
    with Client(service, key) as client:
        first = resumable_upload(client, archive, advance=lambda done, total: steps.append((done, total)))
        assert (first["sha256"], first["filename"]) == (SHA256, "my data.zip")
        assert (steps[0], steps[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))
        steps.clear()
        again = resumable_upload(client, archive, advance=lambda done, total: steps.append((done, total)))
        assert (again["sha256"], again["id"] != first["id"]) == (SHA256, True)
        assert steps == [(len(CONTENT), len(CONTENT))]


def test_a_broken_line_is_mended(service: str, key: str, archive: Path) -> None:
    port = int(service.rsplit(":", 1)[1])
    with cutting_proxy(port, seed=3, longest=1_500_000, share=0.7) as (bad, cuts):
        with Client(f"http://127.0.0.1:{bad}", key) as client:
            assert resumable_upload(client, archive, sleep=lambda _: None)["sha256"] == SHA256
    assert cuts


def test_the_command_given_again_goes_on_with_the_upload(service: str, key: str, archive: Path) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            raise httpx.WriteError("broken")
        return plain.handle_request(request)

    with httpx.HTTPTransport() as plain, Client(service, key, transport=httpx.MockTransport(broken)) as client:
        with pytest.raises(ConnectionFailed, match="0 of 3000000 bytes"):
            resumable_upload(client, archive, sleep=lambda _: None)
    with Client(service, key) as client:
        (left,) = client.pages("/v1/uploads", status="receiving")
        headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        client.http.patch(f"/v1/uploads/{left['id']}", content=CONTENT[:2_000_000], headers=headers)
        steps: list[int] = []
        done = resumable_upload(client, archive, advance=lambda count, _: steps.append(count))
    assert (done["id"], done["sha256"], steps[0]) == (left["id"], SHA256, 2_000_000)


@pytest.fixture
def in_s3(settings: Settings, s3_bucket: str) -> Settings:
    return settings.model_copy(update={"storage_url": f"s3://{s3_bucket}/p"})


def test_a_service_that_stores_in_s3_is_waited_for(
    in_s3: Settings, key: str, archive: Path, sessions: sessionmaker[Session]
) -> None:
    waits: list[float] = []

    def announced(sha256: str) -> None:
        with transaction(sessions) as session:
            session.execute(update(IncomingUpload).values(expected_sha256=sha256))

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        with transaction(sessions) as session:
            (waiting,) = session.scalars(select(IncomingUpload.id).where(IncomingUpload.status == "verifying"))
        if len(waits) == 2:
            raise KeyboardInterrupt
        verify(waiting)

    with serving(in_s3) as (url, _), Client(url, key) as client, verifier(in_s3) as verify:
        done = resumable_upload(client, archive, sleep=sleep)
        assert (done["status"], done["sha256"], len(waits)) == ("complete", SHA256, 1)
        client.delete(f"/v1/uploads/{done['id']}")
        archive.write_bytes(CONTENT[::-1])
        with pytest.raises(KeyboardInterrupt):
            resumable_upload(client, archive, sleep=sleep)
        (left,) = client.pages("/v1/uploads", status="verifying")
        again = resumable_upload(client, archive, sleep=sleep)  # given again, it waits for the same
        assert (again["id"], again["status"]) == (left["id"], "complete")
        archive.write_bytes(CONTENT[::-2])

        def damaged(seconds: float) -> None:
            announced("0" * 64)
            sleep(seconds)

        with pytest.raises(Problem, match="checksum_mismatch"):
            resumable_upload(client, archive, sleep=damaged)


def test_what_will_not_change_is_said_at_once(service: str, make_key: Callable[[str], str], tmp_path: Path) -> None:
    with Client(service, make_key("acme")) as client:
        with pytest.raises(UsageError, match="cannot read"):
            resumable_upload(client, tmp_path / "none.zip")
    with Client(service, "mt_wrong") as client, pytest.raises(Problem, match="unauthenticated"):
        resumable_upload(client, Path(__file__))
