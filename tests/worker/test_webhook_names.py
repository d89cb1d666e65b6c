"""A receiver's name server has no more time than the receiver."""

from __future__ import annotations

import threading
import time

from tests.worker.test_webhooks import sent
from worker.webhooks.sending import Answer


def test_a_name_that_is_never_resolved_is_left_when_the_time_is_over() -> None:
    go_on = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        go_on.wait(30)
        return ["127.0.0.1"]

    started = time.monotonic()
    try:
        answer = sent("http://slow.example/", seconds=0.3, resolve=resolve)
    finally:
        go_on.set()
    assert answer == Answer(None, "no answer within 0.3 seconds")
    assert time.monotonic() - started < 2


def test_names_that_are_never_resolved_do_not_pile_up_threads_without_end() -> None:
    go_on = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        go_on.wait(30)
        return ["127.0.0.1"]

    before = threading.active_count()
    try:
        for _ in range(40):
            assert sent("http://slow.example/", seconds=0.01, resolve=resolve).error
        assert threading.active_count() - before <= 32
    finally:
        go_on.set()
