"""The child's side of `worker.child`: its specification, and dying with the worker that started it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any, Final

import structlog

from worker.outcome import Exit

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
AT_WORK: Final = "masktune-work"
"""The name of a child's process once it was told what to do; at most 15 characters."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux), whatever it is doing then."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # It died before the kernel was told.
        os._exit(Exit.ORPHANED)


def receive() -> dict[str, Any]:
    """Tie this process to its parent and read what the parent wants of it; ends the process if there is no parent."""
    die_with_parent()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(Exit.ORPHANED)
    threading.Thread(target=_watch, name="parent-watch", daemon=True).start()
    specification: dict[str, Any] = json.loads(line)
    if sys.platform.startswith("linux"):  # so that ps and top tell those at work from those that wait for it
        ctypes.CDLL(None).prctl(_PR_SET_NAME, AT_WORK.encode(), 0, 0, 0)
    structlog.contextvars.bind_contextvars(**specification.get("log", {}))
    return specification


def _watch() -> None:
    # Reads the descriptor itself: a blocked read of `sys.stdin` would hold its lock while the interpreter exits.
    descriptor = sys.stdin.fileno()
    while os.read(descriptor, 1024):
        pass
    os._exit(Exit.ORPHANED)
