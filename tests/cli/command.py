"""Running the real command in tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

COMMAND = (sys.executable, "-m", "cli")
_END_SECONDS = 45.0


def environment(home: Path) -> dict[str, str]:
    """Of a user with this data folder and no service named."""
    named = ("MASKTUNE_URL", "MASKTUNE_API_KEY", "MASKTUNE_DATABASE_URL", "MASKTUNE_REDIS_URL", "MASKTUNE_STORAGE_URL")
    return {
        **{name: value for name, value in os.environ.items() if name not in named},
        "MASKTUNE_HOME": str(home),
        "COLUMNS": "120",
    }


def masktune(home: Path, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(home), capture_output=True, text=True, timeout=timeout, check=False
    )


def masktune_json(home: Path, *arguments: str, timeout: float = 120.0) -> Any:
    """Run one command that must succeed and return what it printed with --json."""
    done = masktune(home, *arguments, "--json", timeout=timeout)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def masktune_up(home: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], Mapping[str, Any]]]:
    """`masktune up --json` and what it printed when it was ready. Killed at the end if it still runs."""
    command = [*COMMAND, "up", "--port", str(port), "--json"]
    with subprocess.Popen(
        command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, json.loads(line)
        finally:
            if process.poll() is None:
                process.kill()
            wait_until_nothing_runs(home)


def processes_of(home: Path) -> list[psutil.Process]:
    """Everything that was started for a data folder, by its environment or its command line."""
    found = []
    for process in psutil.process_iter():
        try:
            named = process.environ().get("MASKTUNE_HOME") == str(home) or str(home) in " ".join(process.cmdline())
            if named and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_nothing_runs(home: Path) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while left := processes_of(home):
        assert time.monotonic() < deadline, f"still running: {[process.cmdline() for process in left]}"
        time.sleep(0.1)
