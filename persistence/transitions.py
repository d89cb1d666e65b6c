"""The states of a job and the only steps between them.

```
queued ──claim──▶ running ──▶ succeeded
 │ ▲ ▲             │ │ ├───▶ failed ─────────────┐
 │ │ └─hand back───┘ │ └───▶ cancelling ──▶ cancelled ──┐
 │ │                 └─pause─▶ pausing ──▶ paused │     │
 │ └──resume─────────────────────────────────┴────┴─────┘
 └──cancel──▶ cancelled, pause──▶ paused
```

Whoever asked for cancellation gets it: from `cancelling` nothing else follows, however the attempt ended. A pause that
comes too late leaves a job that has ended; otherwise `pausing` ends in `paused`, and takes a cancellation on the way.
A cancelled or failed job goes on, from its last resume point, only when its owner asks for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from persistence.errors import IllegalTransition

Status = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

LEGAL: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "queued": frozenset({"running", "paused", "cancelled"}),
        "running": frozenset({"succeeded", "failed", "cancelling", "pausing", "queued"}),
        "pausing": frozenset({"paused", "succeeded", "failed", "cancelling"}),
        "paused": frozenset({"queued", "cancelled"}),
        "cancelling": frozenset({"cancelled"}),
        "succeeded": frozenset(),
        "failed": frozenset({"queued"}),
        "cancelled": frozenset({"queued"}),
    }
)
FINISHED: Final[frozenset[str]] = frozenset({"succeeded", "failed", "cancelled"})
"""The job has ended; nothing moves it but its owner."""
ACTIVE: Final[frozenset[str]] = frozenset({"running", "pausing", "cancelling"})
"""An attempt works on the job and holds its lease."""


def check(old: str, new: str) -> None:
    """Raise `IllegalTransition` unless a job may go from `old` to `new`."""
    if new not in LEGAL[old]:
        raise IllegalTransition(old, new)
