"""Watching one attempt of anything: lease, cancellation, limits."""

from __future__ import annotations

import io
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from persistence.errors import LeaseLost
from worker.attempt import Ending, Limits, Wish, watch
from worker.child import Child
from worker.outcome import Exit

LIMITS = Limits(heartbeat=0.05, wall=30.0, stop_grace=0.3, shutdown_grace=0.3)

POLITE = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)\n"
)
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def start(code: str) -> Child:
    child = Child([sys.executable, "-c", code], {}, output=io.StringIO())
    if "ready" in code:
        while not child.log:
            time.sleep(0.01)
    return child


def wanted() -> Wish:
    return "go_on"


def observe(
    code: str,
    renew: Callable[[], Wish] = wanted,
    limits: Limits = LIMITS,
    stopping: threading.Event | None = None,
    look: Callable[[], object] = lambda: None,
) -> tuple[Ending, float]:
    child = start(code)
    began = time.monotonic()
    ending = watch(child, renew, limits, stopping or threading.Event(), look=look)
    assert not psutil.pid_exists(child.pid)
    return ending, time.monotonic() - began


def test_a_child_that_ends_by_itself_was_stopped_by_nobody() -> None:
    ending, _ = observe("print('done')")
    assert ending == Ending("exited", 0, ("done",))


def test_the_lease_is_renewed_while_the_child_works() -> None:
    beats: list[float] = []

    def renew() -> Wish:
        beats.append(time.monotonic())
        return "go_on"

    observe("import time; time.sleep(0.5)", renew)
    assert len(beats) >= 4


def test_cancellation_asks_first() -> None:
    ending, seconds = observe(POLITE, lambda: "cancel")
    assert (ending.reason, ending.returncode) == ("cancelled", Exit.INTERRUPTED)
    assert seconds < 1.0


def test_cancellation_kills_a_child_that_does_not_listen() -> None:
    ending, seconds = observe(STUBBORN, lambda: "cancel")
    assert (ending.reason, ending.returncode) == ("cancelled", -signal.SIGKILL)
    assert 0.3 <= seconds < 2.0


def test_a_pause_gives_the_time_to_write_a_resume_point() -> None:
    ending, seconds = observe(STUBBORN, lambda: "pause", replace(LIMITS, shutdown_grace=0.6))
    assert (ending.reason, ending.returncode) == ("paused", -signal.SIGKILL)
    assert seconds >= 0.6


def test_a_cancellation_during_a_pause_wins() -> None:
    wishes: list[Wish] = ["pause", "pause"]
    ending, seconds = observe(
        STUBBORN, lambda: wishes.pop() if wishes else "cancel", replace(LIMITS, shutdown_grace=30.0)
    )
    assert ending.reason == "cancelled"
    assert seconds < 2.0


def test_a_lost_lease_kills_at_once() -> None:
    def renew() -> Wish:
        raise LeaseLost("job", uuid.UUID(int=1))

    ending, seconds = observe(POLITE, renew)
    assert (ending.reason, ending.returncode) == ("lease_lost", -signal.SIGKILL)
    assert seconds < 1.0


def test_the_wall_clock_limit_asks_then_kills() -> None:
    ending, _ = observe(POLITE, limits=replace(LIMITS, wall=0.1))
    assert (ending.reason, ending.returncode) == ("timed_out", Exit.INTERRUPTED)
    ending, _ = observe(STUBBORN, limits=replace(LIMITS, wall=0.1))
    assert (ending.reason, ending.returncode) == ("timed_out", -signal.SIGKILL)


def test_a_child_without_a_sign_of_progress_is_ended() -> None:
    ending, seconds = observe(STUBBORN, limits=replace(LIMITS, stall=0.5), look=lambda: "the same")
    assert ending.reason == "stalled"
    assert ending.returncode < 0
    assert seconds >= 0.5


def test_a_child_that_gets_on_is_left_alone_however_long_it_takes() -> None:
    steps = count()
    ending, _ = observe("import time; time.sleep(1.5)", limits=replace(LIMITS, stall=0.5), look=lambda: next(steps))
    assert ending == Ending("exited", 0, ())


def test_while_the_database_is_away_silence_is_nobodys_fault() -> None:
    def away() -> Wish:
        raise OperationalError("UPDATE jobs", {}, Exception("connection refused"))

    ending, _ = observe("import time; time.sleep(1.5)", away, replace(LIMITS, stall=0.5))
    assert (ending.reason, ending.returncode) == ("exited", 0)


def test_a_worker_that_shuts_down_stops_its_children() -> None:
    stopping = threading.Event()
    stopping.set()
    ending, _ = observe(POLITE, stopping=stopping)
    assert (ending.reason, ending.returncode) == ("shutdown", Exit.INTERRUPTED)


def test_a_cancellation_during_a_shutdown_does_not_wait_for_the_longer_grace() -> None:
    stopping = threading.Event()
    stopping.set()
    ending, seconds = observe(STUBBORN, lambda: "cancel", replace(LIMITS, shutdown_grace=30.0), stopping)
    assert ending.reason == "cancelled"
    assert seconds < 2.0


def test_an_outage_of_the_database_does_not_stop_the_child() -> None:
    def renew() -> Wish:
        raise OperationalError("UPDATE jobs", {}, Exception("connection refused"))

    ending, _ = observe("import time; time.sleep(0.3)", renew)
    assert (ending.reason, ending.returncode) == ("exited", 0)


def test_an_error_in_renewing_leaves_no_child_behind() -> None:
    def renew() -> Wish:
        raise RuntimeError("a defect")

    child = start(STUBBORN)
    with pytest.raises(RuntimeError, match="a defect"):
        watch(child, renew, LIMITS, threading.Event())
    assert not psutil.pid_exists(child.pid)
