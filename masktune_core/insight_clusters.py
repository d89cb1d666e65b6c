"""Clusters of masked regions: k-means on where they are and what the network saw there, then what is not apart is one.

k-means (scikit-learn) is asked for a few more clusters than there will be. Two clusters that overlap, whose centres are
nearer than the sum of their radii, are two halves of one cloud: they are put together, nearest first. So the number of
clusters comes from the data, a single shortcut gives a single cluster, and a spread-out rest stays one spread-out rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_MOST: Final = 8
_LEAST_IMAGES: Final = 5
_PLACE_WEIGHT: Final = 2.0  # half an image apart counts as much as features that have nothing in common
_AREA_WEIGHT: Final = 1.0
_EXAMPLES: Final = 12


@dataclass(frozen=True, slots=True)
class Masked:
    """Images of one class in which something is masked, N rows.

    `index` (N,) int64; `cells` (N, G, G), the masked share of each cell; `features` (N, D) of length 1; `fraction`
    (N,), the masked share of the image.
    """

    index: npt.NDArray[np.int64]
    cells: Floats
    features: Floats
    fraction: Floats


@dataclass(frozen=True, slots=True)
class Cluster:
    """Masked regions that are alike.

    `share` of the masked images of its class; `top` and `left` are the mean centre of the regions and `radius` their
    root mean square distance from it, in image sides; `masked_fraction` the mean share of the image that is masked.
    `overlap`: how much of the masked area of one image is masked in another, on average. `similarity`: mean cosine of
    the features to their mean. `tightness` is the product of the two, 1 = the same thing at the same place.
    `examples` are the images nearest to the middle.
    """

    images: int
    share: float
    top: float
    left: float
    radius: float
    masked_fraction: float
    overlap: float
    similarity: float
    tightness: float
    examples: tuple[int, ...]


def find_clusters(masked: Masked, *, seed: int) -> tuple[list[Cluster], list[Floats]]:
    """The clusters, largest first, and the mean of each one's `cells`. Nothing for fewer than five images."""
    if len(masked.index) < _LEAST_IMAGES:
        return [], []
    centres = _centres(masked.cells)
    points = np.concatenate(
        [masked.features, _PLACE_WEIGHT * centres, _AREA_WEIGHT * np.sqrt(masked.fraction)[:, None]], axis=1
    ).astype(np.float64)
    parts = _merged(points, _split(points, seed))
    parts.sort(key=lambda rows: (-len(rows), int(masked.index[rows[0]])))
    found = [_described(masked, points, centres, rows) for rows in parts]
    return found, [masked.cells[rows].mean(axis=0) for rows in parts]


def _centres(cells: Floats) -> Floats:
    """Centre of mass (N, 2) as y, x in [0, 1]."""
    side = cells.shape[1]
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    mass = np.maximum(cells.sum(axis=(1, 2)), 1e-9)
    return np.stack([cells.sum(axis=2) @ at / mass, cells.sum(axis=1) @ at / mass], axis=1)


def _split(points: npt.NDArray[np.float64], seed: int) -> list[npt.NDArray[np.intp]]:
    most = min(_MOST, len(points) // _LEAST_IMAGES, len(np.unique(points, axis=0)))
    if most < 2:
        return [np.arange(len(points))]
    from sklearn.cluster import KMeans  # here, for it takes as long to load as torch

    labels = KMeans(n_clusters=most, n_init=4, random_state=seed).fit_predict(points)
    parts = (np.flatnonzero(labels == number) for number in range(most))
    return [rows for rows in parts if len(rows)]


def _merged(points: npt.NDArray[np.float64], parts: list[npt.NDArray[np.intp]]) -> list[npt.NDArray[np.intp]]:
    """Put together what overlaps, the pair that overlaps most first."""
    parts = list(parts)
    while len(parts) > 1:
        centres = np.stack([points[rows].mean(axis=0) for rows in parts])
        radii = np.array([_radius(points[rows]) for rows in parts])
        apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) - radii[:, None] - radii[None]
        np.fill_diagonal(apart, np.inf)
        first, second = sorted(np.unravel_index(int(apart.argmin()), apart.shape))
        if apart[first, second] > 0:
            break
        other = parts.pop(second)
        parts[first] = np.sort(np.concatenate([parts[first], other]))
    return parts


def _radius(points: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _described(masked: Masked, points: npt.NDArray[np.float64], centres: Floats, rows: npt.NDArray[np.intp]) -> Cluster:
    mean = masked.cells[rows].mean(axis=0, dtype=np.float64)
    overlap = float((mean**2).sum() / max(mean.sum(), 1e-9))
    direction = masked.features[rows].mean(axis=0, dtype=np.float64)
    similarity = float(np.linalg.norm(direction))  # of unit vectors: their mean cosine to the mean
    from_middle = ((points[rows] - points[rows].mean(axis=0)) ** 2).sum(axis=1)
    nearest = rows[np.argsort(from_middle, kind="stable")[:_EXAMPLES]]
    top, left = centres[rows].mean(axis=0)
    return Cluster(
        images=len(rows),
        share=len(rows) / len(masked.index),
        top=float(top),
        left=float(left),
        radius=_radius(centres[rows].astype(np.float64)),
        masked_fraction=float(masked.fraction[rows].mean()),
        overlap=overlap,
        similarity=similarity,
        tightness=overlap * similarity,
        examples=tuple(int(index) for index in masked.index[nearest]),
    )
