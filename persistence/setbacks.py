"""What keeps an attempt from its work: whether it uses up a try, and how long the next one waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_

from persistence.tables import Checkpoint, Dataset, IncomingUpload, Job

AnyRow = Job | Dataset | Checkpoint | IncomingUpload

NOBODYS_FAULT: Final = frozenset({"store_unavailable", "database_away", "worker_shutdown"})
"""Errors that use up no try: they say nothing about the work."""
SHORTAGES: Final = frozenset({"out_of_disk", "out_of_host_memory", "out_of_gpu_memory"})
"""Errors that keep their own code when attempts are used up: trying more often would not have helped."""

_FIRST_SECONDS: Final[Mapping[str, float]] = {
    "store_unavailable": 5.0,
    "database_away": 5.0,
    **dict.fromkeys(SHORTAGES, 30.0),
}
_LONGEST_SECONDS: Final = 300.0
_MOST: Final = 16  # setbacks that are told apart; the wait is at its longest before


def put_off(row: AnyRow, code: str) -> float:
    """Have a row that is handed back wait, twice as long each time in a row; returns the seconds, 0 for not at all.

    What is away or short now most often still is a moment later.
    """
    first = _FIRST_SECONDS.get(code)
    if first is None:
        clear(row)
        return 0.0
    seconds = min(first * 2.0**row.setbacks, _LONGEST_SECONDS)
    row.setbacks = min(row.setbacks + 1, _MOST)
    row.not_before = func.clock_timestamp() + timedelta(seconds=seconds)
    return seconds


def clear(row: AnyRow) -> None:
    """The row may be tried at once."""
    row.setbacks = 0
    row.not_before = None


def may_be_tried(row: Any) -> ColumnElement[bool]:
    """Whether its time has come. `row` is a table, or a selection with its `not_before`."""
    return or_(row.not_before.is_(None), row.not_before <= func.clock_timestamp())
