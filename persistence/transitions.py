"""The states of a job and the only steps between them.

```
queued ──claim──▶ running ──▶ succeeded
  │  ▲               │  ├───▶ failed
  │  └──hand back────┘  └───▶ cancelling ──▶ cancelled
  └──cancel─────────────────────────────────▶ cancelled
```

Whoever asked for cancellation gets it: from `cancelling` nothing else follows, however the attempt ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from persistence.errors import IllegalTransition

Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

LEGAL: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "queued": frozenset({"running", "cancelled"}),
        "running": frozenset({"succeeded", "failed", "cancelling", "queued"}),
        "cancelling": frozenset({"cancelled"}),
        "succeeded": frozenset(),
        "failed": frozenset(),
        "cancelled": frozenset(),
    }
)
FINISHED: Final[frozenset[str]] = frozenset(status for status, following in LEGAL.items() if not following)
ACTIVE: Final[frozenset[str]] = frozenset({"running", "cancelling"})
"""An attempt works on the job and holds its lease."""


def check(old: str, new: str) -> None:
    """Raise `IllegalTransition` unless a job may go from `old` to `new`."""
    if new not in LEGAL[old]:
        raise IllegalTransition(old, new)
