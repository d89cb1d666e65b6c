"""Ends event streams as soon as the process is told to stop.

The server waits for open responses before it runs the application's shutdown, and a stream would keep it waiting. So
the streams are closed by the signal itself, before the server's own handler.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop_signal(close: Callable[[], None]) -> Iterator[None]:
    """Within the block, SIGTERM and SIGINT first have `close` called in the running event loop, then do what they did.

    Does nothing outside of the main thread, where no signal can be received.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(close)
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)

    for number, previous in before.items():
        # A default or ignored signal is left alone: chaining could not reproduce what it does.
        if callable(previous):
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            if callable(previous):
                signal.signal(number, previous)
