"""Zip archives: random access, stored or deflated."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from masktune_core.intake.capped_file import CappedFile
from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import OTHER_FILES, IntakeLimits
from masktune_core.intake.members import Listing, Member, MemberError

# Bytes of directory that one honest entry takes: 46 fixed, a name, extra fields.
_DIRECTORY_ENTRY_BYTES: Final = 256
_ENCRYPTED: Final = 0x1
_STRONGLY_ENCRYPTED: Final = 0x40
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE: Final = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
)


class ZipSource:
    """An open zip file; see `Source`."""

    def __init__(self, archive: zipfile.ZipFile, listing: Listing) -> None:
        self.members = listing.members
        self._archive = archive
        self._infos = archive.infolist()
        for place, info in enumerate(self._infos):
            listing.count(info.filename)
            if not info.is_dir():
                _list(info, place, listing)

    def read(self, member: Member) -> bytes:
        """See `Source.read`."""
        try:
            with self._archive.open(self._infos[member.place]) as file:
                content = file.read(member.size)
                if len(content) == member.size and not file.read(1):
                    return content
        except _DAMAGE as error:
            raise MemberError(str(error) or type(error).__name__) from error
        raise MemberError(f"does not unpack to the {member.size:,} bytes that the directory states")


@contextmanager
def open_zip(path: Path, limits: IntakeLimits, findings: Findings) -> Iterator[ZipSource]:
    """Open and list a zip file. Raises `ArchiveError` (`archive_damaged`, or a limit)."""
    with path.open("rb") as file:
        cap = (limits.max_images + OTHER_FILES) * _DIRECTORY_ENTRY_BYTES
        try:
            archive = zipfile.ZipFile(cast("IO[bytes]", CappedFile(file, cap)))
        except _DAMAGE as error:
            raise findings.fatal("archive_damaged", "", f"the zip file is damaged or cut short: {error}") from error
        with archive:
            yield ZipSource(archive, Listing(path.stat().st_size, limits, findings))


def _list(info: zipfile.ZipInfo, place: int, listing: Listing) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        listing.refuse(info.filename, "unsafe_entry", "is a link or device: only plain files are accepted")
    elif info.flag_bits & (_ENCRYPTED | _STRONGLY_ENCRYPTED):
        listing.refuse(info.filename, "encrypted_entry", "is encrypted: pack the archive again without a password")
    elif info.compress_type not in _METHODS:
        message = f"uses compression method {info.compress_type}: pack it with deflate, or without compression"
        listing.refuse(info.filename, "unsafe_entry", message)
    else:
        listing.add(info.filename, info.file_size, place)
