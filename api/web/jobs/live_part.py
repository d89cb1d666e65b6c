"""The part of a job's page that changes while the job runs, made once for all who look at the same moment.

Every event makes every open page of the job ask for it. What it shows is the same for all of a tenant, so it is drawn
once for an event, and then handed out; the caller has checked who may look.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from uuid import UUID

_MOST: Final = 128
FRESH_SECONDS: Final = 2.0
"""Progress moves on between events; a part may be that old."""

Key = tuple[UUID, int, str]


class LiveParts:
    """Parts by job, last event and status. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()
        self._making: dict[Key, threading.Lock] = {}

    def get(self, key: Key, make: Callable[[], bytes]) -> bytes:
        """The part, made now if nobody else has just made it; who comes meanwhile waits for it."""
        with self._lock:
            kept = self._fresh(key)
            if kept is not None:
                return kept
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                kept = self._fresh(key)
            if kept is not None:
                return kept
            try:
                made = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                self._kept[key] = (self._clock() + FRESH_SECONDS, made)
                self._kept.move_to_end(key)
                while len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
            return made

    def _fresh(self, key: Key) -> bytes | None:
        found = self._kept.get(key)
        return found[1] if found and self._clock() < found[0] else None


PARTS: Final = LiveParts()
