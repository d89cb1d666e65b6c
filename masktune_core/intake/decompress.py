"""Compressed tar archives, unpacked to a plain tar within limits."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Final

import zstandard

from masktune_core.intake.findings import Findings
from masktune_core.intake.headroom import Headroom
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import check_total

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_CHUNK: Final = 2**20
# zstd -19 uses 8 MiB, --ultra -22 and --long 128 MiB; more would be memory on the archive's say-so.
_LARGEST_WINDOW: Final = 2**27


def decompress(source: Path, destination: Path, limits: IntakeLimits, findings: Findings) -> None:
    """Unpack the gzip or zstd file `source` to `destination`, in constant memory.

    A zstd stream cut short shows in the tar inside, whose end is missing then.
    Raises `ArchiveError`: `archive_damaged`, or `too_large` before more than the limit is written; `OutOfDisk`.
    """
    packed, written = source.stat().st_size, 0
    headroom = Headroom(destination.parent, limits.min_free_bytes)
    with source.open("rb") as file, destination.open("wb") as out:
        zstd = file.read(len(ZSTD_MAGIC)) == ZSTD_MAGIC
        file.seek(0)
        context = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        stream: gzip.GzipFile | zstandard.ZstdDecompressionReader = (
            context.stream_reader(file, read_across_frames=True, closefd=False) if zstd else gzip.GzipFile(fileobj=file)
        )
        try:
            with stream:
                while chunk := stream.read(_CHUNK):
                    written += len(chunk)
                    check_total(written, packed, limits, findings)
                    headroom.take(len(chunk))
                    out.write(chunk)
        except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError) as error:
            message = f"the compressed file is damaged or cut short: {error}"
            raise findings.fatal("archive_damaged", "", message) from error
    if written == 0:
        raise findings.fatal("archive_damaged", "", "the compressed file holds nothing, or is cut short")
