"""A store that hangs keeps those waiting who asked for its bytes, and nobody else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import httpx
import pytest

from persistence.errors import StoreUnavailable
from persistence.settings import Settings
from persistence.store.file import FileStore
from tests.api.conftest import serving
from tests.api.seeds import Seeds
from tests.api.test_errors import problem

MANY = 50  # more than the API has threads, connections, or turns


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What reads from the store waits until this event, and then fails."""
    released = threading.Event()

    def hang(*_: object, **__: object) -> Any:
        released.wait(30)
        raise StoreUnavailable("the object store does not answer")

    for name in ("iter_range", "read_range", "exists", "stat"):
        monkeypatch.setattr(FileStore, name, hang)
    return released


def test_downloads_and_images_that_wait_hold_up_nothing_else(
    settings: Settings, key: str, seeds: Seeds, hanging: threading.Event
) -> None:
    job = seeds.job()
    seeds.artifact(job, seeds.claim(job), "model", b"weights")
    paths = [f"/v1/jobs/{job}/artifacts/model", f"/v1/datasets/{seeds.pictured_dataset()}/images/0"]
    headers = {"Authorization": f"Bearer {key}"}
    with serving(settings) as (url, _), ThreadPoolExecutor(MANY) as pool:
        with httpx.Client(base_url=url, headers=headers, timeout=30, limits=httpx.Limits(max_connections=None)) as http:
            waiting = [pool.submit(http.get, paths[number % 2]) for number in range(MANY)]
            assert wait(waiting, timeout=0.5).done == set()
            for _ in range(3):
                assert http.get("/v1/jobs", timeout=10).status_code == 200
            assert not any(each.done() for each in waiting)
            hanging.set()
            for each in waiting:
                problem(each.result(), 503, "service_unavailable")
