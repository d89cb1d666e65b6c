"""SIGTERM in a child: stop at once while nothing is lost by it, at the next step while a run is under way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequested(BaseException):
    """The supervisor asked to stop. Not an `Exception`: no handler of errors may swallow it."""


class StopSwitch:
    """Listens for SIGTERM from its creation on."""

    def __init__(self) -> None:
        self._requested = False
        self._patient = False
        signal.signal(signal.SIGTERM, self._handle)

    def requested(self) -> bool:
        """Whether to stop."""
        return self._requested

    @contextmanager
    def patiently(self) -> Iterator[None]:
        """Inside, a request only shows in `requested`; outside, it raises `StopRequested` in the main thread."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._requested = True
        if not self._patient:
            raise StopRequested
