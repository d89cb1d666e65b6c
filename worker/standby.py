"""Trainers that have loaded their libraries and wait: torch takes seconds to load, which no job should wait for."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from worker.child import Child
from worker.devices import Device
from worker.trainer import WAITS

_log = structlog.get_logger(__name__)


class Standby:
    """At most one waiting trainer for each slot. Each takes one attempt and no second one: it is as fresh as any.

    A trainer dies with the thread that started it (`lifeline.die_with_parent`), so `prepare` is for threads that last
    as long as the worker.
    """

    def __init__(self, trainer: Sequence[str], slots: Sequence[Device] = ()) -> None:
        """`slots`: devices for whose next attempts trainers wait, each as often as it takes a job; none: none waits."""
        self._trainer = tuple(trainer)
        self._slots = Counter(slots)
        self._lock = threading.RLock()  # `close` may interrupt `prepare`: signals are handled in the main thread
        self._closed = False
        self._waiting: defaultdict[Device, list[Child]] = defaultdict(list)

    def prepare(self, device: Device) -> None:
        """Start a trainer for the next attempt on `device`, unless enough of them wait already."""
        with self._lock:
            waiting = self._waiting[device]
            if self._closed or len(waiting) >= self._slots[device]:
                return
            try:
                child = Child(self._trainer, environment={**device.environment(), WAITS: "1"})
            except OSError as error:  # no process to be had; the next attempt says so, if it is still true then
                _log.warning("no_standby_trainer", device=device.name, error=str(error))
                return
            waiting.append(child)

    def start(self, device: Device, specification: Mapping[str, Any]) -> Child:
        """A trainer at work on an attempt: the one that waits, or else a new one."""
        with self._lock:
            waiting = self._waiting[device]
            child = waiting.pop() if waiting else None
        if child is not None and child.wait(0.0) is None:
            child.begin(specification)
            return child
        if child is not None:
            child.close()  # killed while it waited
        return Child(self._trainer, specification, environment=device.environment())

    def close(self) -> None:
        """End those that wait, and start no more."""
        with self._lock:
            self._closed = True
            children = [child for waiting in self._waiting.values() for child in waiting]
            self._waiting.clear()
        for child in children:
            child.close()
