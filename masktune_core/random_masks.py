"""The control of the paper's section 4: masks that mean nothing, of the area that a saliency mask would have."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from masktune_core.data.views import Box
from masktune_core.masking import Masks
from masktune_core.randomness import derive_seed


def random_square_masks(
    areas_px: Sequence[int],
    boxes: Sequence[Box],
    sizes: Sequence[tuple[int, int]],
    *,
    seed: int,
    iteration: int,
    indices: Sequence[int],
) -> Masks:
    """One square of exactly `areas_px[i]` pixels masked at a random place of what the network sees of image i.

    Where the area is no square number, the last row is shorter; where a square is too large, it is a rectangle.
    `boxes[i]`: the part of the image, in its own pixels, that the network sees; an area larger than that masks all of
    it. `sizes[i]`: (height, width) of the image; `indices[i]`: its index in the data set. The place depends only on
    (seed, iteration, index). Returns keep masks (H, W) bool.
    """
    masks: list[NDArray[np.bool_]] = []
    for area, box, (height, width), index in zip(areas_px, boxes, sizes, indices, strict=True):
        mask = np.ones((height, width), dtype=bool)
        top, left = max(box.top, 0), max(box.left, 0)
        seen = mask[top : max(top, box.top + box.height), left : max(left, box.left + box.width)]
        _mask_block(seen, min(int(area), seen.size), derive_seed(seed, "random_square", iteration, int(index)))
        masks.append(mask)
    return masks


def _mask_block(seen: NDArray[np.bool_], area: int, draw: int) -> None:
    if not area:
        return
    rows, columns = _shape(area, *seen.shape)
    top = (draw >> 32) * (seen.shape[0] - rows + 1) >> 31
    left = (draw & 0xFFFF_FFFF) * (seen.shape[1] - columns + 1) >> 32
    whole, rest = divmod(area, columns)
    seen[top : top + whole, left : left + columns] = False
    seen[top + whole : top + rows, left : left + rest] = False


def _shape(area: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the block, as near to a square as fits; the last row may be shorter."""
    columns = min(width, max(round(math.sqrt(area)), math.ceil(area / height)))
    return math.ceil(area / columns), columns
