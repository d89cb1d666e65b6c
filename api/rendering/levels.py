"""A map as grey levels, without any image, for programs that colour it themselves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from api.rendering.heatmap import Box
from api.rendering.upsampling import Floats, upsample


def map_levels(cam: Floats, box: Box, height: int, width: int, max_side: int) -> npt.NDArray[np.uint8]:
    """The map over an image of height × width pixels, as (h, w) uint8 of the same shape and no side above `max_side`.

    cam (rows, columns) float32 covers `box` = (top, left, height, width) in pixels of the image; it is upsampled to it
    and min-max scaled there, 0 = ignored to 255 = relied on most. Outside of the box, and where the map is constant, 0.
    """
    scale = min(1.0, max_side / max(height, width))
    drawn = np.zeros((max(1, round(height * scale)), max(1, round(width * scale))), dtype=np.uint8)
    rows, columns = (
        _span(box[axis] * scale, (box[axis] + box[axis + 2]) * scale, drawn.shape[axis]) for axis in (0, 1)
    )
    values = upsample(cam, rows.stop - rows.start, columns.stop - columns.start)
    spread = values.max() - values.min()
    if spread > 0:
        drawn[rows, columns] = np.rint((values - values.min()) / spread * np.float32(255)).astype(np.uint8)
    return drawn


def _span(start: float, stop: float, size: int) -> slice:
    """Whole cells, at least one, within `size`."""
    first = min(round(start), size - 1)
    return slice(first, min(max(round(stop), first + 1), size))
