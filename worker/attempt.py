"""One attempt: watch a child, keep its lease, and stop it when there is a reason to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from persistence.database import is_unavailable
from persistence.errors import LeaseLost
from worker.child import Child
from worker.pulse import Silence

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.1
_LONGEST_GAP_SECONDS = 10.0
_TELL_SECONDS = 0.5

Wish = Literal["go_on", "pause", "cancel"]
"""What the owner of the work wants of it."""
Reason = Literal["exited", "cancelled", "paused", "timed_out", "stalled", "shutdown", "lease_lost"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended: why it was stopped (`exited`: nobody stopped it), and the child's exit code."""

    reason: Reason
    returncode: int
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds: between two lease renewals, for the whole attempt, and for the child to stop when asked.

    `shutdown_grace` is for a child that writes a resume point before it stops. `stall` is the longest time without a
    sign of progress.
    """

    heartbeat: float
    wall: float
    stop_grace: float
    shutdown_grace: float
    stall: float = float("inf")


def watch(
    child: Child,
    renew: Callable[[], Wish],
    limits: Limits,
    stopping: threading.Event,
    *,
    look: Callable[[], object] = lambda: None,
) -> Ending:
    """Wait until `child` ends, calling `renew` every heartbeat, and see to it that it does end.

    `renew` prolongs the lease, returns what the owner wants, and raises `LeaseLost`. While the database is
    away the child works on: its writes are fenced, so at worst its work is wasted. `stopping` is set when the worker
    shuts down. `look` returns something else whenever the child has got on. Whatever happens, the child is gone when
    this returns or raises.
    """
    try:
        reason = _watch(child, renew, limits, stopping, look)
    finally:
        returncode = child.close()
    return Ending(reason, returncode, child.log)


def _watch(
    child: Child,
    renew: Callable[[], Wish],
    limits: Limits,
    stopping: threading.Event,
    look: Callable[[], object],
) -> Reason:
    started = time.monotonic()
    silence, silent_seconds = Silence(look, max(_LONGEST_GAP_SECONDS, 2 * limits.heartbeat)), 0.0
    next_beat = started + limits.heartbeat
    reason: Reason = "exited"
    kill_at = float("inf")
    while True:
        if child.wait(min(_LOOK_SECONDS, next_beat - time.monotonic())) is not None:
            return reason
        now = time.monotonic()
        if now >= kill_at:
            child.kill()
            kill_at = float("inf")
        wanted: Reason = "exited"
        if now >= next_beat:
            next_beat = now + limits.heartbeat
            answer = _beat(renew)
            # While the database is away the child may be waiting for it.
            silent_seconds = silence.seconds(counts=answer is not None)
            wanted = answer or "exited"
        if wanted == "lease_lost":
            child.kill()
            reason = wanted
        elif wanted == "cancelled" and reason in ("exited", "paused", "shutdown"):
            kill_at = min(kill_at, _stop(child, limits.stop_grace))
            reason = wanted
        elif wanted == "paused" and reason == "exited":
            kill_at = _stop(child, limits.shutdown_grace)
            reason = wanted
        elif reason == "exited" and now - started >= limits.wall:
            kill_at = _stop(child, limits.stop_grace)
            reason = "timed_out"
        elif reason == "exited" and silent_seconds >= limits.stall:
            child.tell_where()
            child.wait(_TELL_SECONDS)
            kill_at = _stop(child, limits.shutdown_grace)
            reason = "stalled"
        elif reason == "exited" and stopping.is_set():
            kill_at = _stop(child, limits.shutdown_grace)
            reason = "shutdown"


_WISHES: Final[dict[Wish, Reason]] = {"go_on": "exited", "pause": "paused", "cancel": "cancelled"}


def _beat(renew: Callable[[], Wish]) -> Reason | None:
    """Why to stop, `exited` for no reason; None: the database is away."""
    try:
        return _WISHES[renew()]
    except LeaseLost:
        return "lease_lost"
    except Exception as error:
        if not is_unavailable(error):
            raise
        _log.warning("lease_not_renewed", error=str(error))
        return None


def _stop(child: Child, grace: float) -> float:
    child.stop()
    return time.monotonic() + grace
