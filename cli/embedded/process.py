"""Ending a server process, ours or an orphan's, by escalating signals."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil


def find_server(pid: int, name: str, folder: Path) -> psutil.Process | None:
    """The process `pid` if it is really the server `name` working in `folder`: a pid may go to another program."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process if name in process.name() and Path(process.cwd()) == folder else None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def end(process: psutil.Process, signals: Sequence[signal.Signals], seconds_each: float) -> None:
    """Send each signal in turn until the process has ended; the last should be SIGKILL."""
    for sig in signals:
        try:
            process.send_signal(sig)
        except psutil.NoSuchProcess:
            return
        deadline = time.monotonic() + seconds_each
        while time.monotonic() < deadline:
            if not _runs(process):
                return
            time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    """A zombie has ended, though its pid exists until somebody reaps it; an orphan's may never be."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_child(child: subprocess.Popen[bytes], signals: Sequence[signal.Signals], seconds_each: float) -> None:
    """As `end`, for our own child, which must be reaped."""
    for sig in signals:
        if child.poll() is not None:
            return
        child.send_signal(sig)
        try:
            child.wait(seconds_each)
        except subprocess.TimeoutExpired:
            continue
        return
