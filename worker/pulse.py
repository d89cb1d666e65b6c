"""Signs of progress: the trainer tells of what it has done, and its supervisor sees when nothing more comes.

A sign is given after work, by the thread that does it: a step, a batch, a piece of a file. A thread that beats by
itself would go on beating beside one that hangs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_FILE: Final = "pulse.json"
_WRITE_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Sign:
    """The `number`-th sign that was written down: `where` the work stood, in words, in which stage, and when (UTC)."""

    number: int
    stage: str | None
    where: str
    at: str


class Pulse:
    """The trainer's side. Of signs from one stage at most four a second are written down."""

    def __init__(self, work_dir: Path) -> None:
        self._path = work_dir / _FILE
        self._part = self._path.with_suffix(".part")
        self._number = 0
        self._stage: str | None = None
        self._due = 0.0

    def beat(self, where: str, stage: str | None = None) -> None:
        """Something was done."""
        now = time.monotonic()
        if now < self._due and stage == self._stage:
            return
        self._due, self._stage = now + _WRITE_SECONDS, stage
        self._number += 1
        sign = Sign(self._number, stage, where, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        self._part.write_text(json.dumps(asdict(sign)), encoding="utf-8")
        self._part.replace(self._path)


def last_sign(work_dir: Path) -> Sign | None:
    """The newest sign; None before the first."""
    try:
        told = json.loads((work_dir / _FILE).read_text(encoding="utf-8"))
        return Sign(told["number"], told["stage"], told["where"], told["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Silence:
    """The supervisor's side: for how many seconds the sign has not changed while somebody watched.

    A gap between two looks counts for `longest_gap` seconds at most: when the watcher itself was suspended, so was most
    likely the one it watches.
    """

    def __init__(self, look: Callable[[], object], longest_gap: float) -> None:
        self._look, self._longest_gap = look, longest_gap
        self._seen = look()
        self._looked_at = time.monotonic()
        self._seconds = 0.0

    def seconds(self, *, counts: bool = True) -> float:
        """Look again. With `counts` False the time since the last look is nobody's fault."""
        now = time.monotonic()
        passed, self._looked_at = min(now - self._looked_at, self._longest_gap), now
        sign = self._look()
        if sign != self._seen:
            self._seen, self._seconds = sign, 0.0
        elif counts:
            self._seconds += passed
        return self._seconds
