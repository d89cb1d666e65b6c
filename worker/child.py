"""Child processes: every attempt runs in a fresh one, and none outlives the worker that started it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

_TAIL_LINES = 50
_LINE_CHARACTERS = 2000
# How long the last lines may take to come through after its end; on a busy machine, more than a moment.
_READER_SECONDS = 10.0
# torch's threads sleep while they wait for each other. By default they spin, which on a machine that does other things
# too takes the core from the very thread they wait for. Results are the same to the bit.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


class Child:
    """A running child in its own session and process group.

    Its first line of standard input is the specification as JSON: without one it waits until `begin` sends it. Its
    standard input then stays open as long as this process lives: end of file there tells it that its parent is gone.
    What it prints goes to `output`, line by line; the last lines are kept.
    """

    def __init__(
        self,
        argv: Sequence[str],
        specification: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        output: TextIO | None = None,
    ) -> None:
        self._output = sys.stderr if output is None else output
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._ended = threading.Event()
        # Its own session: Ctrl-C at the terminal reaches the worker only, which then stops its children in order.
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**_WAITING, **os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output-{self.pid}", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True)
        try:
            self._reader.start()
            self._waiter.start()
        except RuntimeError as error:  # the system lets this process have no more threads
            self.kill()
            self._process.wait()
            self._release()
            raise OSError(errno.EAGAIN, f"{error}, to watch a child") from error
        if specification is not None:
            self.begin(specification)

    def begin(self, specification: Mapping[str, Any]) -> None:
        """Tell it what to do; once."""
        if self._process.stdin is None:
            raise RuntimeError("the child was started without a pipe to its standard input")
        with suppress(BrokenPipeError):  # It ended at once; its exit code says why.
            self._process.stdin.write(json.dumps(specification).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group."""
        return self._process.pid

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines that it printed."""
        return tuple(self._tail)

    def wait(self, seconds: float) -> int | None:
        """Its exit code (negative: killed by that signal), or None while it runs after so many seconds."""
        return self._process.returncode if self._ended.wait(max(0.0, seconds)) else None

    def stop(self) -> None:
        """Ask it to stop."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def tell_where(self) -> None:
        """Have a trainer print where each of its threads stands; any other child ends."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it and everything that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> int:
        """End it if it still runs, wait for it, release the pipes; returns its exit code."""
        if not self._ended.is_set():
            self.kill()
        self._waiter.join()
        self.kill()  # Its own children, which may still hold the output pipe.
        self._release()
        return self._process.returncode

    def _release(self) -> None:
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._reader.ident is not None:
            self._reader.join(_READER_SECONDS)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _wait(self) -> None:
        self._process.wait()
        self._ended.set()

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for raw in self._process.stdout:
            line = raw.decode(errors="replace").rstrip()[:_LINE_CHARACTERS]
            self._tail.append(line)
            with suppress(ValueError, OSError):  # The worker's own stderr may be closed while it shuts down.
                self._output.write(line + "\n")
                self._output.flush()
