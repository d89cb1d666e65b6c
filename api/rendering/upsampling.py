"""Bilinear upsampling of CAM grids in NumPy, as `torch.nn.functional.interpolate(align_corners=False)` does it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_ONE = np.float32(1)


@dataclass(frozen=True, slots=True)
class Taps:
    """For each output position: the two grid cells it lies between, and the weight of the second."""

    low: npt.NDArray[np.intp]
    high: npt.NDArray[np.intp]
    weight: Floats

    @classmethod
    def between(cls, cells: int, size: int) -> Taps:
        """`size` output positions over `cells` grid cells, half-pixel centres, clamped at the border."""
        centres = np.maximum((np.arange(size, dtype=np.float64) + 0.5) * (cells / size) - 0.5, 0.0)
        low = np.minimum(centres.astype(np.intp), cells - 1)
        return cls(low, np.minimum(low + 1, cells - 1), (centres - low).astype(np.float32))


def upsampled_rows(grid: Floats, rows: Taps, columns: Taps, start: int, stop: int) -> Floats:
    """Rows `start:stop` of `grid` (h, w) upsampled to (len(rows), len(columns)): (stop - start, W) float32."""
    low, high, weight = rows.low[start:stop], rows.high[start:stop], rows.weight[start:stop, None]
    band: Floats = grid[low] * (_ONE - weight) + grid[high] * weight  # (stop - start, w)
    across: Floats = band[:, columns.low] * (_ONE - columns.weight) + band[:, columns.high] * columns.weight
    return across


def upsample(grid: Floats, height: int, width: int) -> Floats:
    """`grid` (h, w) float32 → (height, width) float32."""
    rows, columns = Taps.between(grid.shape[0], height), Taps.between(grid.shape[1], width)
    return upsampled_rows(grid, rows, columns, 0, height)
