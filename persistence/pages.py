"""Keyset pages: stable while rows come and go, and as fast on the last page as on the first."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Row = TypeVar("Row")

Cursor = uuid.UUID | int
"""Where a list goes on: the id, number or index of the last row seen."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows in order; `next` is the cursor to hand in as `after` for the following ones, None on the last page."""

    rows: list[Row]
    has_more: bool
    next: Cursor | None


def cut(rows: Sequence[Row], limit: int, cursor: Callable[[Row], Cursor]) -> Page[Row]:
    """The page out of `limit + 1` fetched rows: the extra one only says that there is more."""
    kept = list(rows[:limit])
    has_more = len(rows) > limit
    return Page(kept, has_more, cursor(kept[-1]) if has_more else None)
