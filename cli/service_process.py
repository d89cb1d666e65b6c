"""One local service as a child process with a log file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cli.bound
from cli.errors import ServicesError

_LOG_MAX_BYTES = 10 * 2**20
_TAIL_BYTES = 16 * 2**10


@dataclass(slots=True)
class ServiceProcess:
    """`arguments` follow the Python executable. A service that has a `ready_file` writes it once it has started.

    The child leads its own process group, so that Ctrl-C in the terminal reaches only the command line, which then
    stops its services in order.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    ready_file: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Must be called from the main thread: the kernel binds the child to the thread that made it."""
        rotate(self.log)
        if self.ready_file:
            self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, cli.bound.__file__, str(os.getpid()), sys.executable, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                cwd=self.folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def has_started(self) -> bool:
        return self.ready_file is None or self.ready_file.exists()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self.process.poll() if self.process else None

    def require_running(self) -> None:
        """Raises `ServicesError` with the last log lines when the service has ended by itself."""
        code = self.exit_code
        if code is not None:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
            raise ServicesError(f"the {self.name} {how}; its log is {self.log}", log_tail=tail(self.log))

    def terminate(self) -> None:
        """Ask it to finish what it is doing and end."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for its end; after `seconds` the whole process group is killed."""
        if not self.process:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def rotate(log: Path) -> None:
    """Keep a service's log below a bound: one older file beside the current one."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_MAX_BYTES:
        log.replace(log.with_suffix(".log.1"))


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file, indented; empty when there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
