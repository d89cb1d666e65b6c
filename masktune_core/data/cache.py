"""Decoded images kept in memory, within a budget."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from masktune_core.data.dataset import Dataset

# What a small array costs beside its pixels: the object, the dict entry.
_ENTRY_BYTES: Final = 200


class DecodedCache:
    """Keeps decoded images until the budget is full, and then keeps those.

    Nothing is evicted: an epoch visits every image once in random order, so any image is as good as another, and
    replacing one would only cost. If all images have one size and fit, they share one array `block` (N, H, W, 3) uint8,
    from which whole batches are gathered.
    """

    def __init__(self, dataset: Dataset, budget_bytes: int) -> None:
        self._dataset = dataset
        self._left = budget_bytes
        self._lock = threading.Lock()
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self.block: NDArray[np.uint8] | None = None
        self._present = np.zeros(len(dataset), dtype=np.bool_)
        sizes = dataset.sizes
        if len(sizes) and (sizes == sizes[0]).all():
            height, width = int(sizes[0, 0]), int(sizes[0, 1])
            if len(sizes) * height * width * 3 <= budget_bytes:
                # Pages are only taken as images are written, so unused splits cost nothing.
                self.block = np.empty((len(sizes), height, width, 3), dtype=np.uint8)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Image `index` (H, W, 3), decoded at most once if it fits. Not to be written to."""
        if self.block is not None:
            if not self._present[index]:
                self.block[index] = self._dataset.read(index)
                self._present[index] = True
            kept: NDArray[np.uint8] = self.block[index]
            return kept
        image = self._kept.get(index)
        if image is None:
            image = self._dataset.read(index)
            with self._lock:
                cost = image.nbytes + _ENTRY_BYTES
                if cost <= self._left and index not in self._kept:
                    self._left -= cost
                    self._kept[index] = image
        return image

    def holds(self, indices: NDArray[np.int64]) -> bool:
        """Whether all of `indices` are in `block`."""
        return self.block is not None and bool(self._present[indices].all())
