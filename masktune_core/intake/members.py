"""The files of an archive, listed under clean names and within limits."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import OTHER_FILES, RATIO_FREE_BYTES, IntakeLimits
from masktune_core.intake.names import UnsafeNameError, clean_name, collision_key, is_junk, printable


class Member(NamedTuple):
    """One regular file: its clean name, unpacked size in bytes, and where its source finds it."""

    name: str
    size: int
    place: int


class Source(Protocol):
    """An opened archive."""

    members: dict[str, Member]

    def read(self, member: Member) -> bytes:
        """The file's bytes, exactly `member.size` of them.

        Raises `MemberError` if the archive does not hold what it promised.
        """


class MemberError(Exception):
    """The bytes of one member cannot be had; the message says why."""


class Listing:
    """Takes in member after member and keeps the ones that can be used."""

    def __init__(self, archive_bytes: int, limits: IntakeLimits, findings: Findings) -> None:
        self.members: dict[str, Member] = {}
        self._archive_bytes, self._limits, self._findings = archive_bytes, limits, findings
        self._keys: dict[str, str] = {}
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

    def add(self, raw: str, size: int, place: int) -> None:
        """Take in a regular file. Raises `ArchiveError` (`too_large`) when the whole grows too large."""
        try:
            name = clean_name(raw)
        except UnsafeNameError as error:
            self._findings.error("unsafe_path", printable(raw), f"the name {error}")
            return
        self._total += size
        check_total(self._total, self._archive_bytes, self._limits, self._findings)
        if is_junk(name):
            return
        if size > self._limits.max_entry_bytes:
            limit = self._limits.max_entry_bytes
            self._findings.error("too_large", name, f"unpacks to {size:,} bytes; the limit for one file is {limit:,}")
            return
        key = collision_key(name)
        other = self._keys.setdefault(key, name)
        if name in self.members:
            self._findings.error("duplicate_name", name, "is in the archive more than once")
        elif other != name:
            message = f"differs from {other} in upper and lower case only: rename one of them"
            self._findings.error("duplicate_name", name, message)
        else:
            self.members[name] = Member(name, size, place)


def check_total(total: int, archive_bytes: int, limits: IntakeLimits, findings: Findings) -> None:
    """Raise `ArchiveError` (`too_large`) if `total` unpacked bytes are more than an archive of that size may hold."""
    if total > limits.max_total_bytes:
        raise findings.fatal("too_large", "", f"the archive unpacks to more than {limits.max_total_bytes:,} bytes")
    if total > RATIO_FREE_BYTES and total > limits.max_ratio * archive_bytes:
        raise findings.fatal(
            "too_large", "", f"the archive unpacks to more than {limits.max_ratio:g} times its size: refused as a bomb"
        )
