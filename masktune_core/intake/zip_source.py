"""Zip archives: random access, stored or deflated."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

import numpy as np

from masktune_core.intake.capped_file import CappedFile
from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import OTHER_FILES, IntakeLimits
from masktune_core.intake.members import Listing, MemberError

# Bytes of directory that one honest entry takes: 46 fixed, a name, extra fields.
_DIRECTORY_ENTRY_BYTES: Final = 256
_LOCAL_HEADER_BYTES: Final = 30
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
    """An open zip file; see `Source`.

    zipfile's own entries take half a kilobyte each, so they are turned into columns, and made anew for each file read.
    """

    def __init__(self, archive: zipfile.ZipFile, listing: Listing) -> None:
        self._archive = archive
        self._offset, self._packed = array("Q"), array("Q")
        self._crc, self._method, self._flags = array("I"), array("H"), array("H")
        self._raw: dict[int, str] = {}  # where the archive writes a name in another way than we do
        entries = archive.filelist
        archive.NameToInfo.clear()
        entries.reverse()
        while entries:  # the last reference to each goes here
            info = entries.pop()
            listing.count(info.filename)
            if not info.is_dir() and _is_usable(info, listing):
                self._take(info, listing)
        self.members = listing.finish()

    def _take(self, info: zipfile.ZipInfo, listing: Listing) -> None:
        place = len(self._offset)
        name = listing.add(info.filename, info.file_size, place)
        if name is not None and name != info.orig_filename:
            self._raw[place] = info.orig_filename
        self._offset.append(info.header_offset)
        self._packed.append(info.compress_size)
        self._crc.append(info.CRC)
        self._method.append(info.compress_type)
        self._flags.append(info.flag_bits)

    def has_overlaps(self) -> bool:
        """Whether two files claim the same bytes, which makes a small archive unpack to much (Fifield 2019)."""
        offset = np.array(self._offset, dtype=np.uint64)
        order = np.argsort(offset, kind="stable")
        room = np.diff(offset[order])
        packed = np.array(self._packed, dtype=np.uint64)[order[:-1]]
        header = np.uint64(_LOCAL_HEADER_BYTES)
        return bool(((room < header) | (packed > room - np.minimum(room, header))).any())

    def read(self, position: int) -> bytes:
        """See `Source.read`."""
        place, size = int(self.members.places[position]), int(self.members.sizes[position])
        info = zipfile.ZipInfo(self._raw.get(place, self.members.names[position]))
        info.header_offset, info.compress_size, info.file_size = self._offset[place], self._packed[place], size
        info.CRC, info.compress_type, info.flag_bits = self._crc[place], self._method[place], self._flags[place]
        try:
            with self._archive.open(info) as file:
                content = file.read(size)
                if len(content) == size and not file.read(1):
                    return content
        except _DAMAGE as error:
            raise MemberError(str(error) or type(error).__name__) from error
        raise MemberError(f"does not unpack to the {size:,} bytes that the directory states")


@contextmanager
def open_zip(path: Path, limits: IntakeLimits, findings: Findings) -> Iterator[ZipSource]:
    """Open and list a zip file. Raises `ArchiveError` (`archive_damaged`, or a limit)."""
    with path.open("rb") as file:
        cap = (limits.max_images + OTHER_FILES) * _DIRECTORY_ENTRY_BYTES
        try:
            archive = zipfile.ZipFile(cast("IO[bytes]", CappedFile(file, cap)))
            source = ZipSource(archive, Listing(path.stat().st_size, limits, findings))
        except _DAMAGE as error:
            raise findings.fatal("archive_damaged", "", f"the zip file is damaged or cut short: {error}") from error
        with archive:
            if source.has_overlaps():
                raise findings.fatal("archive_damaged", "", "the zip file is damaged: two files lie in the same bytes")
            yield source


def _is_usable(info: zipfile.ZipInfo, listing: Listing) -> bool:
    """Whether an entry is a file that can be read; what is wrong with another is noted."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        listing.refuse(info.filename, "unsafe_entry", "is a link or device: only plain files are accepted")
    elif info.flag_bits & (_ENCRYPTED | _STRONGLY_ENCRYPTED):
        listing.refuse(info.filename, "encrypted_entry", "is encrypted: pack the archive again without a password")
    elif info.compress_type not in _METHODS:
        message = f"uses compression method {info.compress_type}: pack it with deflate, or without compression"
        listing.refuse(info.filename, "unsafe_entry", message)
    else:
        return True
    return False
