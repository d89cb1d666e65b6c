"""Tar archives: plain ones are read in place, compressed ones are unpacked into a plain one first."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from masktune_core.intake.capped_file import CappedFile
from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import Listing, MemberError, Members

# A long name or a pax header; the files themselves are not read through tarfile.
_LONGEST_HEADER: Final = 2**20
_BLOCK: Final = 512
_DAMAGE: Final = (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError, IndexError, OSError)


class TarSource:
    """A plain tar file, listed; see `Source`."""

    def __init__(self, descriptor: int, members: Members) -> None:
        self.members = members
        self._descriptor = descriptor

    def read(self, position: int) -> bytes:
        """See `Source.read`."""
        size = int(self.members.sizes[position])
        content = os.pread(self._descriptor, size, int(self.members.places[position]))
        if len(content) != size:
            raise MemberError("the archive ends in the middle of this file")
        return content


@contextmanager
def open_tar(path: Path, archive_bytes: int, limits: IntakeLimits, findings: Findings) -> Iterator[TarSource]:
    """List a plain tar file; `archive_bytes` is its size as it came in, perhaps compressed.

    Raises `ArchiveError` (`not_an_archive`, `archive_damaged`, or a limit).
    """
    with path.open("rb") as file:
        listing = Listing(archive_bytes, limits, findings)
        _list(file, listing, findings)
        yield TarSource(file.fileno(), listing.finish())


def _list(file: BinaryIO, listing: Listing, findings: Findings) -> None:
    end = 0
    for info, next_offset in _members(file, findings):
        listing.count(info.name)
        if info.sparse is not None:
            listing.refuse(info.name, "unsafe_entry", "is a sparse file: pack it as a plain one")
        elif info.isreg():
            listing.add(info.name, info.size, info.offset_data)
        elif not info.isdir():
            listing.refuse(info.name, "unsafe_entry", "is a link or device: only plain files are accepted")
        end = next_offset
    # tarfile takes a broken header for the end of the archive; the true end is marked by zeros.
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise findings.fatal("archive_damaged", "", "the tar file is damaged or cut short: its end marker is missing")


def _members(file: BinaryIO, findings: Findings) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Every entry, with the offset of the one after it."""
    try:
        archive = tarfile.TarFile(fileobj=cast("IO[bytes]", CappedFile(file, _LONGEST_HEADER)))
    except _DAMAGE as error:
        raise findings.fatal("not_an_archive", "", "the file is no zip, tar, tar.gz or tar.zst archive") from error
    last = -1
    with archive:
        while True:
            try:
                info = archive.next()
            except _DAMAGE as error:
                raise findings.fatal("archive_damaged", "", f"the tar file is damaged or cut short: {error}") from error
            if info is None:
                return
            # A negative size would lead back and round in circles.
            if info.size < 0 or archive.offset <= last:
                raise findings.fatal("archive_damaged", "", "the tar file is damaged: a file of negative size")
            last = archive.offset
            # tarfile keeps every header; millions of them would fill memory.
            archive.members = []  # type: ignore[attr-defined]  # an attribute that the stubs leave out
            yield info, last
