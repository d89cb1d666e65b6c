"""A data set as training sees it: labels, groups, splits, and pixels on request."""

from __future__ import annotations

import hashlib
import io
import os
import weakref
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktune_core.data.archive import ArchiveIndex, read_index
from masktune_core.errors import ArchiveError, ConfigError, Problem


class Dataset:
    """A normalised archive, opened. Reading is thread-safe; nothing but the index is held in memory.

    - `classes`: names; `labels` int64 (N,) index them.
    - `groups` int64 (N,): label · A + attribute value, -1 where unknown or without groups; they index `group_names`.
    - `splits`: name → sorted image indices int64, in the order train, val, test, test:*.
    - `sizes` int32 (N, 2): height and width in pixels.
    """

    def __init__(self, path: Path, index: ArchiveIndex, group_by: str | None) -> None:
        self.path = path
        self.index = index
        self.classes = index.classes
        self.labels: NDArray[np.int64] = index.label.astype(np.int64)
        self.groups, self.group_names = assign_groups(index, group_by)
        self.splits: dict[str, NDArray[np.int64]] = {
            name: np.flatnonzero(index.split == code).astype(np.int64) for code, name in enumerate(index.split_names)
        }
        self.sizes: NDArray[np.int32] = np.stack([index.height, index.width], axis=1)
        self._descriptor = os.open(path, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, self._descriptor)

    @classmethod
    def open(cls, path: Path | str, *, group_by: str | None = None) -> Self:
        """Open the normalised archive at `path`; groups are label × the attribute `group_by` (default: the first one).

        Raises `ArchiveError` if the file is not a normalised archive, `ConfigError` if it has no such attribute.
        """
        path = Path(path)
        return cls(path, read_index(path), group_by)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the archive file, hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read_encoded(self, index: int) -> bytes:
        """The stored JPEG or PNG bytes of one image."""
        length = int(self.index.length[index])
        encoded = os.pread(self._descriptor, length, int(self.index.offset[index]))
        if len(encoded) != length:
            message = f"ends before the bytes of image {index}: the archive was cut short"
            raise ArchiveError([Problem("archive_damaged", self.path.name, message)])
        return encoded

    def read(self, index: int) -> NDArray[np.uint8]:
        """Decode one image to (H, W, 3) uint8 RGB.

        Raises `ArchiveError` (`image_corrupt`) if its bytes no longer hold the image that intake checked.
        """
        try:
            with Image.open(io.BytesIO(self.read_encoded(index)), formats=("JPEG", "PNG")) as image:
                pixels = np.array(image, dtype=np.uint8)
        except (OSError, ValueError, SyntaxError) as error:
            raise ArchiveError(
                [Problem("image_corrupt", self.index.names[index], f"does not decode: {error}")]
            ) from error
        height, width = int(self.sizes[index, 0]), int(self.sizes[index, 1])
        if pixels.shape != (height, width, 3):
            message = f"decodes to {pixels.shape}, the index says {(height, width, 3)}"
            raise ArchiveError([Problem("image_corrupt", self.index.names[index], message)])
        return pixels

    def __len__(self) -> int:
        return len(self.index)

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def assign_groups(index: ArchiveIndex, group_by: str | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Group of every image, int64 (N,), and the groups' names: label × attribute `group_by`, or the first attribute.

    -1 where the attribute is unknown, or everywhere without attributes. Raises `ConfigError` for an unknown attribute.
    """
    names = [attribute.name for attribute in index.attributes]
    if group_by is not None and group_by not in names:
        known = ", ".join(names) or "none"
        raise ConfigError(f"data.group_by: the data set has no attribute {group_by!r}; it has: {known}")
    if not names:
        return np.full(len(index), -1, dtype=np.int64), ()
    column = 0 if group_by is None else names.index(group_by)
    attribute, value = index.attributes[column], index.attribute[:, column].astype(np.int64)
    groups = np.where(value >= 0, index.label.astype(np.int64) * len(attribute.values) + value, -1)
    group_names = tuple(f"{label} · {attribute.name}={entry}" for label in index.classes for entry in attribute.values)
    return groups, group_names
