"""The files of an archive, listed under clean names and within limits."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import OTHER_FILES, RATIO_FREE_BYTES, IntakeLimits
from masktune_core.intake.names import UnsafeNameError, clean_name, collision_key, is_junk, printable


class Members:
    """Regular files in the order of their clean names; a file is known by its position in that order.

    `sizes` (unpacked, bytes) and `places` (where the source finds a file) are int64 (N,). An archive may have millions
    of files, so that there is no object a file but its name.
    """

    def __init__(self, names: list[str], sizes: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        self.names, self.sizes, self.places = names, sizes, places

    @classmethod
    def sorted(cls, names: list[str], sizes: Sequence[int], places: Sequence[int]) -> Self:
        """The same files by name; of equal names the first stays the first."""
        order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
        in_order = [names[position] for position in order]
        return cls(in_order, np.array(sizes, dtype=np.int64)[order], np.array(places, dtype=np.int64)[order])

    def find(self, name: str) -> int | None:
        """The position of the file of that name; None if there is none."""
        position = bisect_left(self.names, name)
        return position if position < len(self.names) and self.names[position] == name else None

    def without(self, positions: Sequence[int]) -> Members:
        """All but these."""
        kept = np.delete(np.arange(len(self)), positions)
        return Members([self.names[position] for position in kept], self.sizes[kept], self.places[kept])

    def __len__(self) -> int:
        return len(self.names)


class Source(Protocol):
    """An opened archive."""

    members: Members

    def read(self, position: int) -> bytes:
        """The bytes of the member at `position`, as many as `members.sizes` says.

        Raises `MemberError` if the archive does not hold what it promised.
        """


class MemberError(Exception):
    """The bytes of one member cannot be had; the message says why."""


class Listing:
    """Takes in member after member and keeps the ones that can be used."""

    def __init__(self, archive_bytes: int, limits: IntakeLimits, findings: Findings) -> None:
        self._archive_bytes, self._limits, self._findings = archive_bytes, limits, findings
        self._names: list[str] = []
        self._sizes, self._places = array("q"), array("q")
        self._count = 0
        self._total = 0

    def count(self, raw: str) -> None:
        """Count an entry of any kind. Raises `ArchiveError` (`too_many_images`)."""
        self._count += 1
        most = self._limits.max_images + OTHER_FILES
        if self._count > most:
            raise self._findings.fatal(
                "too_many_images",
                printable(raw),
                f"the archive has more than {most:,} entries; the limit is {self._limits.max_images:,} images",
            )

    def refuse(self, raw: str, code: str, message: str) -> None:
        """Note an entry that is no plain file."""
        self._findings.error(code, printable(raw), message)

    def add(self, raw: str, size: int, place: int) -> str | None:
        """Take in a regular file; returns its clean name, or None if it is left out.

        Raises `ArchiveError` (`too_large`) when the whole grows too large.
        """
        try:
            name = clean_name(raw)
        except UnsafeNameError as error:
            self._findings.error("unsafe_path", printable(raw), f"the name {error}")
            return None
        self._total += size
        check_total(self._total, self._archive_bytes, self._limits, self._findings)
        if is_junk(name):
            return None
        if size > self._limits.max_entry_bytes:
            limit = self._limits.max_entry_bytes
            self._findings.error("too_large", name, f"unpacks to {size:,} bytes; the limit for one file is {limit:,}")
            return None
        self._names.append(name)
        self._sizes.append(size)
        self._places.append(place)
        return name

    def finish(self) -> Members:
        """Everything that was added. Of files that some disk would take for one another only the first in the archive
        stays, and the others are noted."""
        members = Members.sorted(self._names, self._sizes, self._places)
        # Hashes find the few names that are worth a look: a set of all would take more than the names themselves.
        hashes = np.fromiter((hash(collision_key(name)) for name in members.names), np.int64, len(members))
        order = np.argsort(hashes, kind="stable")
        again = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        first: dict[str, str] = {}
        refused: list[int] = []
        suspects = np.unique(np.concatenate([order[again], order[again + 1]]))
        for position in suspects[np.argsort(members.places[suspects], kind="stable")].tolist():
            name, key = members.names[position], collision_key(members.names[position])
            if key not in first:
                first[key] = name
                continue
            refused.append(position)
            if first[key] == name:
                self._findings.error("duplicate_name", name, "is in the archive more than once")
            else:
                message = f"differs from {first[key]} in upper and lower case only: rename one of them"
                self._findings.error("duplicate_name", name, message)
        return members.without(refused) if refused else members


def check_total(total: int, archive_bytes: int, limits: IntakeLimits, findings: Findings) -> None:
    """Raise `ArchiveError` (`too_large`) if `total` unpacked bytes are more than an archive of that size may hold."""
    if total > limits.max_total_bytes:
        raise findings.fatal("too_large", "", f"the archive unpacks to more than {limits.max_total_bytes:,} bytes")
    if total > RATIO_FREE_BYTES and total > limits.max_ratio * archive_bytes:
        raise findings.fatal(
            "too_large", "", f"the archive unpacks to more than {limits.max_ratio:g} times its size: refused as a bomb"
        )
