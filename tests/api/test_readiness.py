"""Probes need no key and are not counted, so that asking costs next to nothing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.health import reachable
from api.health.reachable import Reachable
from persistence.dispatch import Dispatcher
from persistence.settings import Settings
from persistence.store import ObjectStore

OK = {"database": "ok", "store": "ok", "broker": "ok"}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the object store was looked at."""
    moments: list[float] = []

    def answers(_: ObjectStore) -> bool:
        moments.append(time.monotonic())
        return True

    monkeypatch.setattr(reachable, "_store_answers", answers)
    return moments


def test_a_flood_of_probes_is_one_look_a_second(anonymous: TestClient, looks: list[float]) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: anonymous.get("/readyz").status_code, range(80)))
    assert answers == [200] * 80
    assert 1 <= len(looks) <= 1 + time.monotonic() - started


def test_a_change_is_told_after_a_second(
    sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Reachable(sessions, store, Dispatcher(settings)).look
    assert look() == OK
    monkeypatch.setattr(reachable, "_store_answers", lambda _: False)
    assert look() == OK
    time.sleep(reachable.FRESH_SECONDS)
    assert look() == {**OK, "store": "unavailable"}


def test_a_look_that_hangs_holds_nobody_up_and_counts_as_no_answer_in_the_end(
    sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachable, "FRESH_SECONDS", 0.0)
    look = Reachable(sessions, store, Dispatcher(settings)).look
    assert look() == OK
    hanging, go_on = threading.Event(), threading.Event()

    def hang(_: ObjectStore) -> bool:
        hanging.set()
        return go_on.wait(30)

    monkeypatch.setattr(reachable, "_store_answers", hang)
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(look)
        assert hanging.wait(10)
        try:
            assert look() == OK
            monkeypatch.setattr(reachable, "STALE_SECONDS", 0.0)
            assert look()["store"] == "unavailable"
        finally:
            go_on.set()
        stuck.result(10)
