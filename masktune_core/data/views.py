"""Geometry: which part of a data-set image the network sees, and where each pixel lands.

Coordinates are continuous with pixel (row, column) covering [row, row + 1) × [column, column + 1), so its centre is at
+ 0.5. A view takes a box of the image, resizes it to a square of `size` pixels, then mirrors, turns and shifts that
square. Masks live in image pixels and are applied before any of this, so they follow the image by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktune_core.config import InputConfig


class Box(NamedTuple):
    """A rectangle of whole image pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Views:
    """How B images are seen.

    - `regions` int64 (B, 4): top, left, height, width in image pixels of what is cut out; resizing looks no further.
    - `boxes` float64 (B, 4): the part of the region that is seen, in image pixels. Fractional, since the centre of a
      resized image rarely begins at a whole pixel of the original.
    - `flip` bool (B,): mirrored left to right.
    - `turn` float64 (B,): rotation about the view's centre, radians, from the x axis towards the y axis.
    - `shift` float64 (B, 2): y and x shift after the rotation, in view pixels.
    """

    size: int
    regions: NDArray[np.int64]
    boxes: NDArray[np.float64]
    flip: NDArray[np.bool_]
    turn: NDArray[np.float64]
    shift: NDArray[np.float64]

    def follow(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where image points (B, 2) as y, x come to lie in the view; outside [0, size) they are not seen."""
        seen = (points - self.boxes[:, :2]) * (self.size / self.boxes[:, 2:])
        y, x = seen[:, 0], seen[:, 1]
        x = np.where(self.flip, self.size - x, x)
        half = self.size / 2
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        dy, dx = y - half, x - half
        turned = np.stack([sin * dx + cos * dy, cos * dx - sin * dy], axis=1)
        return turned + half + self.shift


def center_boxes(sizes: NDArray[np.int32], side: int | None) -> NDArray[np.int64]:
    """The centre square of `side` pixels of images (B, 2), or all of them: (B, 4) top, left, height, width.

    An image smaller than the square keeps that whole dimension; nothing is padded.
    """
    sizes = sizes.astype(np.int64)
    taken = sizes if side is None else np.minimum(sizes, side)
    # Halves round to even, as torchvision's CenterCrop does.
    start = np.round((sizes - taken) / 2.0).astype(np.int64)
    return np.concatenate([start, taken], axis=1)


def evaluation_views(sizes: NDArray[np.int32], config: InputConfig) -> Views:
    """The deterministic view of images of `sizes` (B, 2) height, width.

    Equal to torchvision's CenterCrop(center_crop), Resize(resize), CenterCrop(size); without `resize`, to
    CenterCrop(center_crop), Resize((size, size)).
    """
    region = center_boxes(sizes, config.center_crop)
    boxes = region.astype(np.float64)
    if config.resize is not None:
        extent = region[:, 2:]
        shorter = extent.min(axis=1, keepdims=True)
        resized = (config.resize * extent) // shorter  # torchvision truncates the longer side
        start = np.round((resized - config.size) / 2.0)
        scale = extent / resized
        boxes = np.concatenate([region[:, :2] + start * scale, config.size * scale], axis=1)
    count = len(boxes)
    return Views(config.size, region, boxes, np.zeros(count, dtype=np.bool_), np.zeros(count), np.zeros((count, 2)))


def whole_boxes(views: Views, sizes: NDArray[np.int32]) -> list[Box]:
    """The boxes of `views`, each edge at the nearest pixel edge inside the image, and at least one pixel wide."""
    sizes = sizes.astype(np.int64)
    start = np.clip(np.round(views.boxes[:, :2]).astype(np.int64), 0, sizes - 1)
    stop = np.round(views.boxes[:, :2] + views.boxes[:, 2:]).astype(np.int64)
    stop = np.clip(stop, start + 1, sizes)
    return [Box(*row) for row in np.concatenate([start, stop - start], axis=1).tolist()]


def is_whole_image(views: Views, sizes: NDArray[np.int32]) -> bool:
    """Whether every view is its image pixel for pixel, before mirroring and turning."""
    whole = np.array([0.0, 0.0, views.size, views.size])
    return bool((sizes == views.size).all() and (views.boxes == whole).all())


def resample(
    image: NDArray[np.uint8], region: NDArray[np.int64], box: NDArray[np.float64], size: int
) -> NDArray[np.uint8]:
    """The `box` of an image (H, W, 3), resized to (size, size, 3) as a part of its `region`.

    Antialiased bilinear, as torchvision v2 resizes; a region that already has the size comes out bit by bit.
    """
    top, left, height, width = region.tolist()
    inside = image[top : top + height, left : left + width]
    if height == width == size and (box == region).all():
        return inside
    upper, start = max(box[0] - top, 0.0), max(box[1] - left, 0.0)
    edges = (start, upper, min(start + box[3], float(width)), min(upper + box[2], float(height)))
    return np.asarray(Image.fromarray(inside).resize((size, size), Image.Resampling.BILINEAR, box=edges))
