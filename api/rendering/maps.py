"""Mean maps of a whole class, drawn on the heatmaps' colour scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from api.rendering.colours import colour
from api.rendering.heatmap import Rgb
from api.rendering.upsampling import upsample


def mean_map(levels: npt.NDArray[np.uint8], side: int) -> Rgb:
    """Levels (G, G), 255 = 1, as (side, side, 3) colours on the fixed scale from 0 to 1, so that maps compare."""
    values = upsample(levels.astype(np.float32) / np.float32(255), side, side)
    return colour(np.clip(values, 0, 1))
