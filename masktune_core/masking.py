"""From saliency maps to keep masks: what a network relies on most is hidden (MaskTune, arXiv 2210.00055, section 3.1).

A keep mask is True where a pixel stays and False where it is masked. A pixel is masked if its scaled map value exceeds
τ = μ + k·σ, mean and population standard deviation over the *positive* pixels of that image's map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

from masktune_core.data.views import Box
from masktune_core.randomness import derive_seed

_PIXELS_AT_A_TIME: Final = 1 << 22  # map pixels worked on together: bounds memory at about 100 MiB


def upsample_cams(cams: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Raw maps (B, h, w) brought to `size` (one side, or height and width), each scaled to [0, 1]: (B, H, W) float32.

    Bilinear with half-pixel centres, then min-max per image. A constant or non-finite map becomes all zero.
    """
    height, width = (size, size) if isinstance(size, int) else size
    cams = cams.float()
    cams = cams - cams.amin(dim=(1, 2), keepdim=True)  # first, so that rounding cannot make a constant map vary
    maps = F.interpolate(cams.unsqueeze(1), size=(height, width), mode="bilinear", align_corners=False)
    maps = maps.squeeze(1)
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    spread = high - low
    usable = (spread > 0) & spread.isfinite()
    maps = (maps - low) / torch.where(usable, spread, 1.0)
    return torch.where(usable, maps, 0.0)


def keep_mask(cams: Tensor, size: int | tuple[int, int], k: float = 2.0) -> Tensor:
    """Keep masks (B, H, W) bool of raw maps (B, h, w).

    False where the scaled map exceeds μ + k·σ of its positive pixels. A map that is zero everywhere masks nothing.
    """
    return _below_threshold(upsample_cams(cams, size), k)


def _below_threshold(maps: Tensor, k: float) -> Tensor:
    exact = maps.double()  # so that the threshold does not hang on how a sum is split between threads
    positive = exact > 0
    count = positive.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    mean = exact.sum(dim=(1, 2), keepdim=True) / count
    variance = ((exact - mean).square_() * positive).sum(dim=(1, 2), keepdim=True) / count
    return exact <= mean + k * variance.sqrt()


def image_keep_masks(
    cams: Tensor, boxes: Sequence[Box], sizes: Sequence[tuple[int, int]], k: float = 2.0
) -> list[NDArray[np.bool_]]:
    """Keep masks in the images' own pixels, each (H, W) bool.

    `cams`: raw maps (B, h, w). `boxes[i]` is the part of image i, in its own pixels, that the network saw and map i
    covers; everything outside is kept. `sizes[i]` is the image's (height, width). Images with boxes of one size are
    worked on together, so one common size is fast.
    """
    if not len(cams) == len(boxes) == len(sizes):
        raise ValueError(f"{len(cams)} maps, {len(boxes)} boxes and {len(sizes)} sizes do not belong together")
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, box in enumerate(boxes):
        alike[box.height, box.width].append(position)
    masks: list[NDArray[np.bool_]] = [np.empty((0, 0), dtype=bool)] * len(cams)
    for (height, width), positions in alike.items():
        step = max(1, _PIXELS_AT_A_TIME // (height * width))
        for start in range(0, len(positions), step):
            chosen = positions[start : start + step]
            inside = keep_mask(cams[chosen], (height, width), k).cpu().numpy()
            for mask, position in zip(inside, chosen, strict=True):
                masks[position] = _placed(mask, boxes[position], sizes[position])
    return masks


def _placed(inside: NDArray[np.bool_], box: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    if box == (0, 0, *size):
        return inside
    mask = np.ones(size, dtype=bool)
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, size[0]), min(box.left + box.width, size[1])
    mask[top:bottom, left:right] = inside[top - box.top : bottom - box.top, left - box.left : right - box.left]
    return mask


def random_square_masks(
    areas_px: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    *,
    seed: int,
    iteration: int,
    indices: Sequence[int],
) -> list[NDArray[np.bool_]]:
    """The control of the paper's section 4: one square of about `areas_px[i]` pixels masked at a random place.

    `sizes[i]`: (height, width) of the image; `indices[i]`: its index in the data set. The place depends only on
    (seed, iteration, index). Where a square is too large for the image, a rectangle of that area is masked instead.
    Returns keep masks (H, W) bool.
    """
    masks = []
    for area, (height, width), index in zip(areas_px, sizes, indices, strict=True):
        mask = np.ones((height, width), dtype=bool)
        rows, columns = _square(int(area), height, width)
        draw = derive_seed(seed, "random_square", iteration, int(index))
        top = (draw >> 32) * (height - rows + 1) >> 31
        left = (draw & 0xFFFF_FFFF) * (width - columns + 1) >> 32
        mask[top : top + rows, left : left + columns] = False
        masks.append(mask)
    return masks


def _square(area: int, height: int, width: int) -> tuple[int, int]:
    side = round(area**0.5)
    if side <= min(height, width):
        return side, side
    if height <= width:
        return height, min(width, round(area / height))
    return min(height, round(area / width)), width
