"""What a user has downloaded: a folder, or an archive of one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from masktune_core.errors import ArchiveError, Problem
from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import MemberError, Source
from masktune_core.intake.names import is_junk
from masktune_core.intake.sources import open_source
from masktune_core.intake.tree import nearest_to_top

_LIMITS: Final = IntakeLimits(max_images=10_000_000, max_total_bytes=2**42, max_entry_bytes=2**36)  # of the user's own


class Download(Protocol):
    """Files by their names with forward slashes, below the folder or inside the archive; `names` are sorted."""

    names: list[str]

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises `ArchiveError` if they cannot be had."""


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root
        files = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        self.names = sorted(name for name in files if not is_junk(name))

    def read(self, name: str) -> bytes:
        return (self._root / name).read_bytes()


class _Archive:
    def __init__(self, source: Source) -> None:
        self._source = source
        self.names = source.members.names

    def read(self, name: str) -> bytes:
        position = self._source.members.find(name)
        if position is None:
            raise missing(name, "is not in the download")
        try:
            return self._source.read(position)
        except MemberError as error:
            raise ArchiveError([Problem("archive_damaged", name, str(error))]) from error


@contextmanager
def open_download(path: Path) -> Iterator[Download]:
    """Open a folder, zip, tar, tar.gz or tar.zst. Raises `ArchiveError` if it is none, or damaged."""
    if path.is_dir():
        yield _Folder(path)
        return
    if not path.is_file():
        raise missing(path, "does not exist")
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="masktune-make-") as scratch:
        with open_source(path, Path(scratch), _LIMITS, findings, path.name) as source:
            if findings.failed:
                raise findings.as_error()
            yield _Archive(source)


def find(download: Download, name: str) -> str | None:
    """The file called `name`, wherever it lies: the one nearest to the top."""
    return nearest_to_top(download.names, name)


def missing(where: Path | str, message: str) -> ArchiveError:
    """`ArchiveError` (`missing_file`) about a download that lacks something."""
    return ArchiveError([Problem("missing_file", str(where), message)])
