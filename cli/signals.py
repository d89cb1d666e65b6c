"""Ctrl-C and SIGTERM as one exception, held back while a step must not be cut in two."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(BaseException):
    """Not an `Exception`, so that nothing on the way takes it for a failure. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)

    @property
    def exit_code(self) -> int:
        return 128 + self.number


class StopSignals:
    """While entered, the first stopping signal raises `StopRequested` in the main thread; later ones only count.

    `shielded()` holds it back: used around starting and stopping a service, where an exception at the wrong
    instruction would lose track of a process.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._shields = 0
        self._raised = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> StopSignals:
        for number in _STOPPING:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        self._raise_once()

    def _raise_once(self) -> None:
        if self.received is not None and not self._shields and not self._raised:
            self._raised = True
            raise StopRequested(self.received)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        self._raise_once()
