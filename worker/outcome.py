"""How a child process tells its supervisor how it ended: an exit code, and a file that says why."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from worker.pulse import last_sign

_FILE = "outcome.json"
_LOG_LINES = 20
_STACK_LINES = 50


class Exit(IntEnum):
    """Exit codes of a child. Values stay clear of the interpreter's own 1 and 2 and of the shell's 126 and up."""

    DONE = 0
    FAILED = 70
    INTERRUPTED = 75
    LEASE_LOST = 76
    ORPHANED = 77


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt ended without a result.

    `code` is stable and for machines; `message` is for people; `stage` is where it happened, if known; `retryable`:
    another attempt may succeed with nothing changed. `log` is the end of the child's output. `activity` is for the
    supervisor: whose batches were too large for the device, if known.
    """

    code: str
    message: str
    stage: str | None = None
    retryable: bool = False
    log: tuple[str, ...] = ()
    activity: str | None = None

    def as_error(self) -> dict[str, Any]:
        """The `error` of a job, as stored and shown."""
        error = asdict(self)
        del error["activity"]
        if not self.log:
            del error["log"]
        else:
            error["log"] = list(self.log)
        return error


def write_outcome(work_dir: Path, failure: Failure) -> None:
    """Leave the reason for the supervisor; whole or not at all."""
    part = work_dir / f"{_FILE}.part"
    part.write_text(json.dumps({**failure.as_error(), "activity": failure.activity}), encoding="utf-8")
    part.replace(work_dir / _FILE)


def read_outcome(work_dir: Path) -> Failure | None:
    """The reason that the child left, or None when it left none that can be read."""
    try:
        told = json.loads((work_dir / _FILE).read_text(encoding="utf-8"))
        return Failure(
            str(told["code"]),
            str(told["message"]),
            told["stage"],
            bool(told["retryable"]),
            tuple(told.get("log", ())),
            told.get("activity"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def classify(returncode: int, work_dir: Path, *, log: Sequence[str], host_ooms: int = 0) -> Failure:
    """Why a child that nobody asked to stop ended with `returncode` (negative: killed by that signal).

    `host_ooms` is how many memory kills the kernel counted in this control group meanwhile. A kill without such a
    count is most often the kernel's memory killer too, but that is only suspected.
    """
    tail = tuple(log[-_LOG_LINES:])
    told = read_outcome(work_dir)
    if told is not None and returncode == Exit.FAILED:
        return replace(told, log=told.log or tail)
    if returncode == -signal.SIGKILL and host_ooms > 0:
        return Failure(
            "out_of_host_memory",
            "the kernel killed the trainer because the machine ran out of memory: lower runtime.cache_mib or the batch"
            " size, or give the worker more memory",
            retryable=True,
            log=tail,
        )
    if returncode == -signal.SIGKILL:
        return Failure(
            "trainer_killed",
            "the trainer was killed (SIGKILL), most often by the kernel when memory runs out: if it repeats, lower"
            " runtime.cache_mib or the batch size",
            retryable=True,
            log=tail,
        )
    how = f"died of {_signal_name(-returncode)}" if returncode < 0 else f"ended with exit code {returncode}"
    return Failure("trainer_crashed", f"the trainer {how} and gave no reason", retryable=True, log=tail)


def stalled(work_dir: Path, limit_seconds: int, *, log: Sequence[str]) -> Failure:
    """Why an attempt was ended that showed no sign of progress for so long. `log` ends with its threads' stacks, if it
    could still print them."""
    sign = last_sign(work_dir)
    last = "there never was one" if sign is None else f"the last one, at {sign.at}, was: {sign.where}"
    message = (
        f"the trainer showed no sign of progress for {limit_seconds} s (limits.stall_seconds); {last}. If a single"
        " batch takes longer than that, raise the limit or lower masking.batch_size"
    )
    stage = None if sign is None else sign.stage
    return Failure("trainer_stalled", message, stage, retryable=True, log=tuple(log[-_STACK_LINES:]))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def count_host_ooms() -> int:
    """Memory kills counted so far in this process's control group (cgroup v2), 0 where that cannot be read."""
    try:
        relative = Path("/proc/self/cgroup").read_text(encoding="ascii").split("::", 1)[1].splitlines()[0]
        events = Path(os.path.normpath(f"/sys/fs/cgroup/{relative}")) / "memory.events"
        counts = dict(line.split() for line in events.read_text(encoding="ascii").splitlines())
        return int(counts.get("oom_kill", 0))
    except (OSError, IndexError, ValueError):
        return 0
