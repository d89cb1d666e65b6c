"""How a CPU goes through a batch: some images at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import torch
from torch import Tensor

from masktune_core.cores import on_all_cores
from masktune_core.fresh_memory import reuse_freed_memory

Done = TypeVar("Done")

# Their features stay in the cache, and memory is bounded
_PIXELS_AT_A_TIME: Final = 64 * 28 * 28
_IMAGES_AT_A_TIME: Final = 16  # or the last layers' few pixels would leave the cores idle
_SMALL_IMAGE: Final = 78 * 78  # pixels; layers of larger ones are work enough for all cores


def in_parts(work: Callable[[Tensor, slice], Done], images: Tensor) -> list[Done]:
    """`work(part, where)` of parts of `images` (B, 3, S, S) on a CPU, in order; one empty part if there is no image.

    `part` is `images[where]` in the memory format NHWC, which convolutions there work in. Small images' parts run on
    all cores, one each; layers of large images keep all cores busy by themselves. Where parts begin depends on the
    size of the images alone, so everything that goes through a batch this way computes the same bits.
    """
    reuse_freed_memory()
    pixels = images.shape[-2] * images.shape[-1]
    size = max(_IMAGES_AT_A_TIME, _PIXELS_AT_A_TIME // pixels)
    places = [slice(start, start + size) for start in range(0, max(len(images), 1), size)]

    def work_at(where: slice) -> Done:
        return work(images[where].contiguous(memory_format=torch.channels_last), where)

    return on_all_cores(work_at, places) if pixels <= _SMALL_IMAGE else [*map(work_at, places)]
