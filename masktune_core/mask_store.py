"""Keep masks of a whole data set on disk, one bit a pixel, in memory that does not grow with their number.

File: 16 bytes magic and count N (uint64); heights, widths and masked pixel counts, N int32 each; then for every image
its bits, row by row, 1 = masked, padded to whole bytes. The file is sparse: an entry never written reads as all zero
bits, so nothing is masked. Integers are little-endian. Reads and writes are positioned (`pread`), so threads may share
a store, and pages stay in the system's cache rather than in the process.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from masktune_core.errors import ResumeError

_MAGIC: Final = b"MTMASK1\n"
_HEADER_BYTES: Final = 16
_COLUMN: Final = np.dtype("<i4")

Masks = torch.Tensor | NDArray[np.bool_] | Sequence[NDArray[np.bool_]]


class MaskStore:
    """Masks by image index. Make one with `create` or `open`; use it as a context manager or `close` it."""

    def __init__(self, path: Path, descriptor: int, heights: NDArray[np.int32], widths: NDArray[np.int32]) -> None:
        self.path = path
        self._descriptor = descriptor
        self._heights, self._widths = heights, widths
        self._pixels = heights.astype(np.int64) * widths
        self._bytes = (self._pixels + 7) // 8
        ends = np.cumsum(self._bytes)
        start = _HEADER_BYTES + 3 * _COLUMN.itemsize * len(heights)
        self._offsets = start + ends - self._bytes
        self._end = start + (int(ends[-1]) if len(ends) else 0)
        self._counts_offset = _HEADER_BYTES + 2 * _COLUMN.itemsize * len(heights)
        self._counts: NDArray[np.int32] = np.zeros(len(heights), dtype=_COLUMN)

    @classmethod
    def create(cls, path: Path, heights: ArrayLike, widths: ArrayLike) -> Self:
        """A new store, replacing a file at `path`; image i is `heights[i]` × `widths[i]` pixels; nothing is masked."""
        rows, columns = np.asarray(heights, dtype=_COLUMN), np.asarray(widths, dtype=_COLUMN)
        if rows.ndim != 1 or rows.shape != columns.shape or (rows < 1).any() or (columns < 1).any():
            raise ValueError(
                f"heights and widths must be positive and of one length, got {rows.shape}, {columns.shape}"
            )
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        store = cls(path, descriptor, rows, columns)
        os.ftruncate(descriptor, store._end)
        header = _MAGIC + len(rows).to_bytes(8, "little") + rows.tobytes() + columns.tobytes()
        _write(descriptor, header, 0)
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store at `path`, for reading and writing. Raises `ResumeError` if the file is no whole mask store."""
        descriptor = os.open(path, os.O_RDWR)
        try:
            return cls._opened(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def _opened(cls, path: Path, descriptor: int) -> Self:
        size = os.fstat(descriptor).st_size
        header = os.pread(descriptor, _HEADER_BYTES, 0)
        count = int.from_bytes(header[8:], "little")
        length = 3 * _COLUMN.itemsize * count
        if header[:8] != _MAGIC or size < _HEADER_BYTES + length:
            raise ResumeError(f"{path} is not a mask store, or is damaged: the masks must be computed again")
        columns = np.frombuffer(_read(descriptor, length, _HEADER_BYTES), dtype=_COLUMN)
        store = cls(path, descriptor, columns[:count], columns[count : 2 * count])
        store._counts = columns[2 * count :].copy()
        if size != store._end:
            raise ResumeError(f"{path} is {size} bytes, not {store._end}: the masks must be computed again")
        return store

    def __len__(self) -> int:
        return len(self._heights)

    def put(self, indices: ArrayLike, masks: Masks) -> None:
        """Store keep masks (True = kept), replacing what was there.

        `masks`: bool (B, H, W), or B arrays (H, W), each of its image's size. Raises `ValueError` for another size,
        `IndexError` for an index that is not in the store.
        """
        chosen = self._checked(indices)
        if isinstance(masks, torch.Tensor):
            masks = masks.cpu().numpy()
        if len(masks) != len(chosen):
            raise ValueError(f"{len(chosen)} indices but {len(masks)} masks")
        for position, index in enumerate(chosen):
            size = (self._heights[index], self._widths[index])
            if masks[position].shape != size:
                raise ValueError(f"mask of image {index} must be {size[0]} × {size[1]}, got {masks[position].shape}")
        for first, last in self._runs(chosen):
            masked = ~np.asarray(masks[first:last], dtype=bool).reshape(last - first, -1)
            self._counts[chosen[first:last]] = masked.sum(axis=1, dtype=np.int32)
            _write(self._descriptor, np.packbits(masked, axis=1).tobytes(), int(self._offsets[chosen[first]]))
            start = self._counts_offset + _COLUMN.itemsize * int(chosen[first])
            _write(self._descriptor, self._counts[chosen[first] : chosen[last - 1] + 1].tobytes(), start)

    def get(self, index: int) -> NDArray[np.bool_]:
        """Keep mask (H, W) bool of one image."""
        mask: NDArray[np.bool_] = self.get_batch([index])[0]
        return mask

    def get_batch(self, indices: ArrayLike) -> NDArray[np.bool_]:
        """Keep masks (B, H, W) bool of images of one size, in the order given. Raises `ValueError` if sizes differ."""
        chosen = self._checked(indices)
        if not len(chosen):
            return np.ones((0, 0, 0), dtype=bool)
        height, width = int(self._heights[chosen[0]]), int(self._widths[chosen[0]])
        if (self._heights[chosen] != height).any() or (self._widths[chosen] != width).any():
            raise ValueError("get_batch needs images of one size: use get for each")
        packed = np.empty((len(chosen), int(self._bytes[chosen[0]])), dtype=np.uint8)
        for first, last in self._runs(chosen):
            length = (last - first) * packed.shape[1]
            block = _read(self._descriptor, length, int(self._offsets[chosen[first]]))
            packed[first:last] = np.frombuffer(block, dtype=np.uint8).reshape(last - first, -1)
        masked = np.unpackbits(packed, axis=1, count=height * width).view(bool)
        np.logical_not(masked, out=masked)
        return masked.reshape(len(chosen), height, width)

    def get_each(self, indices: ArrayLike) -> NDArray[np.bool_] | list[NDArray[np.bool_]]:
        """Keep masks of images of any sizes, in the order given; neighbours on disk are read at once.

        (B, H, W) if all have one size, else a list of (H, W).
        """
        chosen = self._checked(indices)
        heights, widths = self._heights[chosen], self._widths[chosen]
        if len(chosen) and (heights == heights[0]).all() and (widths == widths[0]).all():
            return self.get_batch(chosen)
        return [mask for first, last in self._runs(chosen) for mask in self.get_batch(chosen[first:last])]

    def masked_fraction(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Share of masked pixels of each image, (B,) float32; nothing is read from disk."""
        chosen = self._checked(indices)
        return (self._counts[chosen] / self._pixels[chosen]).astype(np.float32)

    def deflated(self, index: int) -> bytes:
        """zlib-deflated `numpy.packbits` of the flattened keep mask: the form in which a sample's mask is recorded."""
        return zlib.compress(np.packbits(self.get(index)).tobytes(), level=6)

    def flush(self) -> None:
        """Force everything that was put to the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards. Closing twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, indices: ArrayLike) -> NDArray[np.int64]:
        chosen = np.atleast_1d(np.asarray(indices, dtype=np.int64))
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"the store holds images 0…{len(self) - 1}, asked for {chosen.min()}…{chosen.max()}")
        return chosen

    def _runs(self, chosen: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Positions [first, last) of neighbours on disk with one size: one system call each."""
        same = np.diff(chosen) == 1
        same &= np.diff(self._heights[chosen]) == 0
        same &= np.diff(self._widths[chosen]) == 0
        cuts = [0, *(np.flatnonzero(~same) + 1).tolist(), len(chosen)]
        return ((first, last) for first, last in itertools.pairwise(cuts) if first < last)


def _read(descriptor: int, length: int, offset: int) -> bytes:
    parts = []
    while length:
        part = os.pread(descriptor, length, offset)
        if not part:
            raise ResumeError("the mask store ends too early: the masks must be computed again")
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset, view = offset + written, view[written:]
