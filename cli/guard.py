"""Ends the embedded servers when the command line was killed without a chance to do so.

`python -m cli.guard HOME SECONDS`. PostgreSQL and Redis do not watch their parent. This process holds the reading end
of a pipe: end of file without the farewell word means that the other side is dead. It then waits at most SECONDS for
the API and the workers, which the kernel has told (see `cli.bound`), and shuts the two servers down.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from cli.embedded.process import end, find_server

FAREWELL = b"stopped\n"


class Guard:
    """The other side, held by the command line. `patience` is how many seconds the servers' clients get."""

    def __init__(self, home: Path, patience: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli.guard", str(home), str(patience)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=home,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, pid: int) -> None:
        """Name a process that uses the servers and must be gone before they are stopped."""
        self._write(f"{pid}\n".encode())

    def dismiss(self) -> None:
        """Everything was stopped in order: the guard has nothing to do."""
        self._write(FAREWELL)
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(10.0)

    def _write(self, line: bytes) -> None:
        if self._process.stdin and self._process.poll() is None:
            self._process.stdin.write(line)
            self._process.stdin.flush()


def guard(home: Path, patience: float) -> None:
    """Read pids to watch until the farewell, or until the other side is dead; then end the servers under `home`."""
    watched: list[int] = []
    for line in sys.stdin.buffer:
        if line == FAREWELL:
            return
        watched.append(int(line))
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in watched):
        time.sleep(0.1)
    _end(home / "postgres" / "postmaster.pid", "postgres", signal.SIGINT)
    _end(home / "run" / "redis" / "redis.pid", "redis", signal.SIGTERM)


def _end(pid_file: Path, name: str, first: signal.Signals) -> None:
    """Each server works in the folder of its pid file."""
    if not pid_file.exists():
        return
    pid = pid_file.read_text(encoding="utf-8").partition("\n")[0].strip()
    server = find_server(int(pid), name, pid_file.parent) if pid.isdigit() else None
    if server is not None:
        end(server, (first, signal.SIGKILL), seconds_each=15.0)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the other side does, not before
    guard(Path(sys.argv[1]), float(sys.argv[2]))
