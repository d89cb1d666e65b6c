"""Ending a server process, ours or an orphan's, by escalating signals."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil


def find_server(pid: int, name: str, argument: Path) -> psutil.Process | None:
    """The process `pid` if it is really this server on this folder: a pid may have been given to another program."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    is_server = bool(command) and name in Path(command[0]).name and any(str(argument) in part for part in command[1:])
    return process if is_server else None


def end(process: psutil.Process, signals: Sequence[signal.Signals], seconds_each: float) -> None:
    """Send each signal in turn until the process has ended; the last should be SIGKILL."""
    for sig in signals:
        try:
            process.send_signal(sig)
            process.wait(seconds_each)
        except psutil.NoSuchProcess:
            return
        except psutil.TimeoutExpired:
            continue
        return


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
