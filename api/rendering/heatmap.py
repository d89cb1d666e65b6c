"""What the model looked at, laid over the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from api.rendering.colours import colour
from api.rendering.upsampling import Floats, Taps, upsampled_rows

Rgb = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

_BAND_ROWS = 256


def heatmap(image: Rgb, cam: Floats, box: Box, *, alone: bool = False) -> Rgb:
    """Half image, half colour inside `box`; half image, half black outside, where the network saw nothing.

    image (H, W, 3) uint8; cam (h, w) float32, the raw map on its own grid, which covers `box` = (top, left, height,
    width) in pixels of the image. The map is upsampled to the box and min-max scaled there, as for masking. A map that
    is constant, as an all-zero one, is drawn as all zero. `alone`: all colour inside
    the box, all black outside. Works in bands of rows, so that memory stays a small multiple of the image.
    """
    top, left, height, width = box
    drawn: Rgb = np.zeros_like(image) if alone else image >> np.uint8(1)
    dimmed = np.uint8(0 if alone else 1)
    rows, columns = Taps.between(cam.shape[0], height), Taps.between(cam.shape[1], width)
    lowest, highest = _extremes(cam, rows, columns)
    spread = highest - lowest
    for start in range(0, height, _BAND_ROWS):
        stop = min(start + _BAND_ROWS, height)
        band = upsampled_rows(cam, rows, columns, start, stop)
        scaled = np.clip((band - lowest) / spread, 0, 1) if spread > 0 else np.zeros_like(band)
        drawn[top + start : top + stop, left : left + width] += colour(scaled) >> dimmed
    return drawn


def _extremes(cam: Floats, rows: Taps, columns: Taps) -> tuple[np.float32, np.float32]:
    """Smallest and largest value of the upsampled map, a band of rows at a time."""
    bands = [
        upsampled_rows(cam, rows, columns, start, min(start + _BAND_ROWS, len(rows.low)))
        for start in range(0, len(rows.low), _BAND_ROWS)
    ]
    return min(band.min() for band in bands), max(band.max() for band in bands)
