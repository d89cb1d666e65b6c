"""What seeded jobs found about seeded images: the images, their maps and masks, and what was relied on."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.fixtures.records import sample_row

SIDE = 12
IMAGES = 6


def picture(index: int, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """The image number `index` of a seeded data set."""
    return np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)


def keep_mask(index: int, side: int = SIDE) -> npt.NDArray[np.bool_]:
    """The keep mask of a seeded sample."""
    return np.random.default_rng(1000 + index).random((side, side)) < 0.8


def cam(index: int, *, after: bool) -> npt.NDArray[np.float16]:
    """The CAM grid of a seeded sample."""
    return np.random.default_rng(2000 + 2 * index + after).random((3, 4)).astype(np.float16)


def cluster(**changes: Any) -> dict[str, Any]:
    """A shortcut in the top left corner, as a trainer reports it."""
    found = {
        "images": 90,
        "share": 0.9,
        "top": 0.1,
        "left": 0.1,
        "radius": 0.01,
        "masked_fraction": 0.04,
        "overlap": 0.8,
        "similarity": 0.9,
        "tightness": 0.72,
        "examples": [0, 2],
    }
    return found | changes


def two_classes() -> dict[str, Any]:
    """What a job over the seeded data set relied on."""
    classes = [
        {"label": 0, "name": "0-4", "images": 110, "masked": 100, "clusters": [cluster()]},
        {"label": 1, "name": "5-9", "images": 3, "masked": 0, "clusters": []},
    ]
    return {"grid": 2, "clustered": 113, "classes": classes}


def pictured_sample(index: int, side: int = SIDE) -> dict[str, Any]:
    """Before it is right on even indices, after on those that 3 divides."""
    keep = keep_mask(index, side)
    label = index % 2
    return sample_row(
        index,
        split="train" if index < 4 else "test:biased",
        label=label,
        group=3 * label,
        predicted_before=label if index % 2 == 0 else 1 - label,
        predicted_after=label if index % 3 == 0 else 1 - label,
        confidence_after=0.5 + index / 20,
        masked_fraction=float((~keep).mean()),
        height=side,
        width=side,
        cam_height=3,
        cam_width=4,
        cam_before=cam(index, after=False).tobytes(),
        cam_after=cam(index, after=True).tobytes(),
        mask=zlib.compress(np.packbits(keep.reshape(-1)).tobytes()),
        heatmap_distance=index / 10,
        probabilities_before=np.array([0.25, 0.75], dtype=np.float16).tobytes(),
        probabilities_after=np.array([1 - index / 10, index / 10], dtype=np.float16).tobytes(),
    )
