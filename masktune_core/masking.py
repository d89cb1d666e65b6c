"""From saliency maps to keep masks: what a network relies on most is hidden (MaskTune, arXiv 2210.00055, section 3.1).

A keep mask is True where a pixel stays and False where it is masked. A pixel is masked if its scaled map value exceeds
τ = μ + k·σ, mean and population standard deviation over the *positive* pixels of that image's map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from numpy.typing import NDArray
from torch import Tensor

from masktune_core.cores import on_all_cores
from masktune_core.data.views import Box

Masks = NDArray[np.bool_] | list[NDArray[np.bool_]]
"""Keep masks of B images: (B, H, W) where all have one size, else one (H, W) for each."""

_PIXELS_AT_A_TIME: Final = 1 << 22
"""Map pixels worked on together: bounds what they take in float64 and in between at about 100 MiB."""
_PIXELS_A_CORE: Final = 1 << 18
"""Of a part of a batch: what it takes stays in a core's cache."""


def upsample_cams(cams: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Raw maps (B, h, w) brought to `size` (one side, or height and width), each scaled to [0, 1]: (B, H, W) float32.

    Bilinear with half-pixel centres, then min-max per image. A constant or non-finite map becomes all zero. Raises
    `ValueError` for a size without pixels.
    """
    size = (size, size) if isinstance(size, int) else size
    return _in_parts(lambda part: _scaled(part, size), cams, size, torch.float32)


def keep_mask(cams: Tensor, size: int | tuple[int, int], k: float = 2.0) -> Tensor:
    """Keep masks (B, H, W) bool of raw maps (B, h, w).

    False where the scaled map exceeds μ + k·σ of its positive pixels. A map that is zero everywhere masks nothing.
    """
    size = (size, size) if isinstance(size, int) else size
    return _in_parts(lambda part: _below_threshold(_scaled(part, size), k), cams, size, torch.bool)


def _in_parts(work: Callable[[Tensor], Tensor], cams: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """`work` on some maps at a time, (b, h, w) → (b, *size), on a CPU by a core each.

    All in the parts' own threads, to the last copy: torch's threads would still be spinning, on the core that the next
    batch's network needs, milliseconds after an operation of the caller's.
    """
    if min(size) < 1:
        raise ValueError(f"maps cannot be brought to {size[0]} × {size[1]} pixels")
    with torch.autocast(cams.device.type, enabled=False):  # the network may have run in half precision, this may not
        if cams.device.type != "cpu":
            return work(cams)
        found = torch.empty((len(cams), *size), dtype=dtype)
        step = max(1, _PIXELS_A_CORE // (size[0] * size[1]))

        def fill(start: int) -> None:
            found[start : start + step] = work(cams[start : start + step])

        on_all_cores(fill, range(0, len(cams), step))
        return found


def _scaled(cams: Tensor, size: tuple[int, int]) -> Tensor:
    cams = cams.float()
    cams = cams - cams.amin(dim=(1, 2), keepdim=True)  # first, so that rounding cannot make a constant map vary
    maps = _stretch(cams, size)
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    spread = high - low
    usable = (spread > 0) & spread.isfinite()
    maps = maps.sub_(low).div_(torch.where(usable, spread, 1.0))
    return maps if bool(usable.all()) else torch.where(usable, maps, 0.0)


def _stretch(cams: Tensor, size: tuple[int, int]) -> Tensor:
    """`cams` (B, h, w) float32 stretched to `size`, bilinear with half-pixel centres."""
    if cams.device.type != "cpu":
        return F.interpolate(cams.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)
    # The same as two small matrix products, which take a CPU a fifth of the time
    rows, columns = (_stretching(before, after) for before, after in zip(cams.shape[1:], size, strict=True))
    return torch.matmul(torch.matmul(rows, cams), columns.T)


@lru_cache(maxsize=256)
def _stretching(before: int, after: int) -> Tensor:
    """(after, before) float32: each row holds the weights of the one or two values that a new value lies between."""
    with torch.inference_mode(mode=False):  # the caller may be in it, and this is kept
        places = ((torch.arange(after, dtype=torch.float64) + 0.5) * (before / after) - 0.5).clamp_(0, before - 1)
        return (1.0 - (places[:, None] - torch.arange(before)).abs()).clamp_min_(0.0).float()


def _below_threshold(maps: Tensor, k: float) -> Tensor:
    # In float64, so that the threshold does not hang on how a sum is split between threads; some rows at a time, or
    # a single large image would take many times its maps' memory.
    rows = max(1, _PIXELS_AT_A_TIME // max(1, len(maps) * maps.shape[2]))
    parts = [part.flatten(1) for part in torch.split(maps, rows, dim=1)]
    count = torch.stack([(part > 0).sum(dim=1) for part in parts]).sum(dim=0).clamp_min(1)
    sums = torch.stack([_moments(part.double()) for part in parts]).sum(dim=0)
    mean, square = sums / count  # of positive values; the others are zero
    threshold = _largest_float32(mean + k * (square - mean.square()).clamp_min(0.0).sqrt())
    return maps <= threshold[:, None, None]


def _moments(values: Tensor) -> Tensor:
    """Sums of values and of their squares, (2, B)."""
    # A product of matrices, which takes a CPU less time; on a GPU its bits may hang on how many images there are.
    squares = torch.linalg.vecdot(values, values) if values.device.type == "cpu" else values.square().sum(dim=1)
    return torch.stack([values.sum(dim=1), squares])


def _largest_float32(bounds: Tensor) -> Tensor:
    """The largest float32 at most `bounds`: a float32 lies below the one just when it lies below the other."""
    near = bounds.float()
    return torch.where(near.double() > bounds, torch.nextafter(near, near.new_tensor(-torch.inf)), near)


def image_keep_masks(cams: Tensor, boxes: Sequence[Box], sizes: Sequence[tuple[int, int]], k: float = 2.0) -> Masks:
    """Keep masks in the images' own pixels.

    `cams`: raw maps (B, h, w). `boxes[i]` is the part of image i, in its own pixels, that the network saw and map i
    covers; everything outside is kept. `sizes[i]` is the image's (height, width). Images with boxes of one size are
    worked on together, so one common size is fast. Memory is that of the masks: see `spans_of`.
    """
    if not len(cams) == len(boxes) == len(sizes):
        raise ValueError(f"{len(cams)} maps, {len(boxes)} boxes and {len(sizes)} sizes do not belong together")
    if len(boxes) and boxes.count(boxes[0]) == len(boxes) and sizes.count(sizes[0]) == len(sizes):
        return _placed(_inside(cams, boxes[0], k), boxes[0], sizes[0])
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, box in enumerate(boxes):
        alike[box.height, box.width].append(position)
    masks: list[NDArray[np.bool_]] = [np.empty((0, 0), dtype=bool)] * len(cams)
    for positions in alike.values():
        inside = _inside(cams[positions], boxes[positions[0]], k)
        for mask, position in zip(inside, positions, strict=True):
            masks[position] = _placed(mask[None], boxes[position], sizes[position])[0]
    return masks


def spans_of(sizes: Sequence[tuple[int, int]]) -> Iterator[slice]:
    """Images in a row, cut into spans whose masks together stay under some millions of pixels, or are of one image."""
    start = pixels = 0
    for position, (height, width) in enumerate(sizes):
        if position > start and pixels + height * width > _PIXELS_AT_A_TIME:
            yield slice(start, position)
            start, pixels = position, 0
        pixels += height * width
    if start < len(sizes):
        yield slice(start, len(sizes))


def masked_fractions(masks: Masks) -> NDArray[np.float32]:
    """Share of masked pixels of each image, (B,) float32."""
    kept = masks.mean(axis=(1, 2)) if isinstance(masks, np.ndarray) else [mask.mean() for mask in masks]
    return (1.0 - np.asarray(kept, dtype=np.float64)).astype(np.float32)


def _inside(cams: Tensor, box: Box, k: float) -> NDArray[np.bool_]:
    """Masks (B, box.height, box.width) of what the network saw."""
    step = max(1, _PIXELS_AT_A_TIME // (box.height * box.width))
    parts = [keep_mask(part, (box.height, box.width), k).cpu() for part in torch.split(cams, step)]
    found: NDArray[np.bool_] = torch.cat(parts).numpy()
    return found


def _placed(inside: NDArray[np.bool_], box: Box, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks (B, H, W) of images of one size that have `inside` at `box`."""
    if box == (0, 0, *size):
        return inside
    masks = np.ones((len(inside), *size), dtype=bool)
    top, left = max(box.top, 0), max(box.left, 0)
    bottom, right = min(box.top + box.height, size[0]), min(box.left + box.width, size[1])
    masks[:, top:bottom, left:right] = inside[:, top - box.top : bottom - box.top, left - box.left : right - box.left]
    return masks
