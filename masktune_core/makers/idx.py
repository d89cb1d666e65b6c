"""MNIST's IDX files: big-endian header, then bytes."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from masktune_core.errors import ArchiveError, Problem

BUNDLED: Final = Path(__file__).with_name("digits")
_UNSIGNED_BYTE: Final = 0x08
_FOLDERS: Final = ("", "raw", "MNIST/raw")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a plain or gzipped IDX file of unsigned bytes, of any dimension.

    Raises `ArchiveError` (`archive_damaged`) if it is something else or cut short.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        zero, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
        values = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, struct.error, ValueError, zlib.error) as error:
        raise ArchiveError([Problem("archive_damaged", path.name, f"is not a whole IDX file: {error}")]) from error
    if (zero, kind) != (0, _UNSIGNED_BYTE):
        raise ArchiveError([Problem("archive_damaged", path.name, "is not an IDX file of unsigned bytes")])
    return values


def read_digits(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, 28, 28) and labels (N,) of `part` (train or t10k), below a folder as people keep MNIST.

    Raises `ArchiveError` (`missing_file`) if they are not there.
    """
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"))
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        message = f"holds images of shape {images.shape} and labels of shape {labels.shape}: not MNIST"
        raise ArchiveError([Problem("archive_damaged", str(folder), message)])
    return images, labels


def has_digits(folder: Path, part: str) -> bool:
    """Whether `read_digits` would find both files."""
    return all(_candidates(folder, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))


def _find(folder: Path, name: str) -> Path:
    found = _candidates(folder, name)
    if not found:
        message = f"holds no {name} or {name}.gz, neither there nor below raw/ or MNIST/raw/"
        raise ArchiveError([Problem("missing_file", str(folder), message)])
    return found[0]


def _candidates(folder: Path, name: str) -> list[Path]:
    paths = (folder / below / (name + suffix) for below in _FOLDERS for suffix in ("", ".gz"))
    return [path for path in paths if path.is_file()]
