"""What kind of archive a file is, told by its content and never by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from masktune_core.intake.decompress import GZIP_MAGIC, ZSTD_MAGIC, decompress
from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import Source
from masktune_core.intake.tar_source import open_tar
from masktune_core.intake.zip_source import open_zip

_ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def open_source(path: Path, scratch: Path, limits: IntakeLimits, findings: Findings, filename: str) -> Iterator[Source]:
    """Open a zip, tar, tar.gz or tar.zst and list its files; `scratch` is a folder for a compressed tar's content.

    Raises `ArchiveError`: `not_an_archive`, `archive_empty`, `archive_damaged`, `too_large`, `too_many_images`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(4)
    opened: AbstractContextManager[Source]
    if magic in _ZIP_MAGICS:
        opened = open_zip(path, limits, findings)
    elif magic.startswith((GZIP_MAGIC, ZSTD_MAGIC)):
        plain = scratch / "plain.tar"
        decompress(path, plain, limits, findings)
        opened = open_tar(plain, size, limits, findings)
    else:
        opened = open_tar(path, size, limits, findings)
    with opened as source:
        if not source.members and not findings.failed:
            raise findings.fatal("archive_empty", filename, "the archive holds no files")
        yield source
