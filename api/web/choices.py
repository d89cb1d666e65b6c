"""What a select offers: the newest, and what the address names, however old that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar
from uuid import UUID

MOST: Final = 200
"""As many as anybody looks through."""


class Identified(Protocol):
    """A row with an id."""

    @property
    def id(self) -> UUID:
        """Its own."""


Row = TypeVar("Row", bound=Identified)


def with_named(newest: Sequence[Row], named: Iterable[Row | None]) -> list[Row]:
    """`newest`, followed by those of `named` that are not among them."""
    known = {row.id for row in newest}
    return [*newest, *{row.id: row for row in named if row is not None and row.id not in known}.values()]
