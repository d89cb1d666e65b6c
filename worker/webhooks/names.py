"""Host names of receivers, resolved within the message's time.

The system's resolver takes no time limit and cannot be broken off. So it works in a thread of its own, which is left
to itself when the time is over; of such threads there are only so many.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Final

import httpcore

Resolve = Callable[[str, int], list[str]]

_MOST: Final = 32
_resolving = threading.BoundedSemaphore(_MOST)


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host, in the order to try them. Raises `httpcore.ConnectError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} cannot be resolved") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def resolve_within(seconds: float, host: str, port: int, resolve: Resolve) -> list[str]:
    """What `resolve` finds, or raises. Raises `httpcore.ConnectTimeout` when that takes longer than `seconds`."""
    if not _resolving.acquire(blocking=False):
        raise httpcore.ConnectTimeout(f"{_MOST} other names are being resolved")
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(resolve(host, port))
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            answers.put(error)
        finally:
            _resolving.release()

    threading.Thread(target=work, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
