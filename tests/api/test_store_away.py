"""A store that hangs keeps those waiting who asked it for something, and nobody else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from api import cookies
from persistence import browser_sessions, incoming_uploads
from persistence.database import transaction
from persistence.errors import StoreUnavailable
from persistence.settings import Settings
from persistence.store.file import FileStore
from persistence.store.file_incoming import FileIncoming
from persistence.tables import Upload
from tests.api.conftest import serving
from tests.api.seeds import Seeds
from tests.api.tus import TUS
from tests.web.results import job_with_result

MANY = 51  # more than the API has threads, connections, or turns
_OTHERS = hashlib.sha256(b"x").hexdigest()
"""What others ask the store about, who are answered."""
Request = dict[str, Any]


@pytest.fixture
def held_up(
    settings: Settings, key: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[Request]], set[tuple[str, int]]]:
    """Send such requests, many at a time, to an API whose store hangs, until it fails: their methods and statuses.

    Meanwhile others are answered, also those of the same tenant that take its lock.
    """
    released = threading.Event()

    def hang(*arguments: object, **_: object) -> Any:
        if arguments[1:2] == (_OTHERS,):
            return True
        released.wait(30)
        raise StoreUnavailable("the object store does not answer")

    def send(requests: list[Request]) -> set[tuple[str, int]]:
        for name in ("iter_range", "read_range", "exists", "stat"):
            monkeypatch.setattr(FileStore, name, hang)
        for name in ("begin", "discard"):
            monkeypatch.setattr(FileIncoming, name, hang)
        limits = httpx.Limits(max_connections=None)
        headers = {"Authorization": f"Bearer {key}"}
        with serving(settings) as (url, _), ThreadPoolExecutor(MANY) as pool:
            with httpx.Client(base_url=url, headers=headers, timeout=30, limits=limits) as http:
                try:
                    waiting = [pool.submit(http.request, **requests[number % len(requests)]) for number in range(MANY)]
                    assert wait(waiting, timeout=0.5).done == set()
                    for _ in range(3):
                        assert http.get("/v1/jobs", timeout=10).status_code == 200
                        assert http.put("/v1/uploads/a", content=b"x", timeout=10).status_code == 201
                    assert not any(each.done() for each in waiting)
                finally:
                    released.set()
                return {(each.result().request.method, each.result().status_code) for each in waiting}

    return send


def test_downloads_and_images(held_up: Callable[[list[Request]], set[tuple[str, int]]], seeds: Seeds) -> None:
    job, dataset = seeds.job(), seeds.pictured_dataset()
    seeds.artifact(job, seeds.claim(job), "model", b"weights")
    paths = (f"/v1/jobs/{job}/artifacts/model", f"/v1/datasets/{dataset}/images/0")
    assert held_up([{"method": "GET", "url": path} for path in paths]) == {("GET", 503)}


def test_the_beginnings_of_uploads_and_their_ends(
    held_up: Callable[[list[Request]], set[tuple[str, int]]], seeds: Seeds, sessions: sessionmaker[Session]
) -> None:
    begun = {"method": "POST", "url": "/v1/uploads", "headers": TUS | {"Upload-Length": "5"}}
    with transaction(sessions) as session:
        known = session.get_one(Upload, seeds.upload())
        announced = {"filename": "again.zip", "size": known.size, "sha256": known.sha256}
        ended = [
            incoming_uploads.begin(session, seeds.tenant_id, "a.zip", 5, timedelta(hours=1)).id
            for _ in range(MANY // 3)
        ]
    requests: list[Request] = []
    for upload_id in ended:
        requests += [
            begun,
            {"method": "POST", "url": "/v1/uploads", "json": announced},
            {"method": "DELETE", "url": f"/v1/uploads/{upload_id}"},
        ]
    assert held_up(requests) == {("POST", 503), ("DELETE", 204)}
    with transaction(sessions) as session:
        assert incoming_uploads.list_page(session, seeds.tenant_id, "receiving").rows == []
    assert seeds.uploads_left() == 1 + 3, "those before, and those that were sent meanwhile"


def test_pages_that_show_what_a_job_found(
    held_up: Callable[[list[Request]], set[tuple[str, int]]], seeds: Seeds, sessions: sessionmaker[Session]
) -> None:
    first, second = job_with_result(seeds), job_with_result(seeds)
    with transaction(sessions) as session:
        _, token = browser_sessions.create(session, seeds.tenant_id, None)
    paths = (f"/jobs/{first}", f"/jobs/{first}/report", f"/compare?job={first}&job={second}")
    headers = {"Cookie": f"{cookies.SESSION}={token}", "Accept": "text/html"}
    assert held_up([{"method": "GET", "url": path, "headers": headers} for path in paths]) == {("GET", 503)}
