"""What did the models rely on? Mean maps of every class, and what the masked regions have in common.

A shortcut is the same thing at much the same place in many images of a class, so their masked regions lie close
together when described by where they are and what the network saw there: one tight cluster.

All training images count into the mean maps; the clusters come from at most `MOST_CLUSTERED` of them, drawn by the seed
before the pass begins. So memory does not grow with the data set, and the result hangs on no order. Nothing here is
read by training: checkpoints are the same with and without it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

from masktune_core.data.views import Box
from masktune_core.insight_clusters import Cluster, Masked, find_clusters
from masktune_core.masking import Masks, masked_fractions
from masktune_core.randomness import derive_seed

GRID: Final = 32
"""Cells along each side of a map: the whole image, whatever its size and shape."""
MOST_CLUSTERED: Final = 10_000
MOST_FEATURES: Final = 64
"""Features with more channels are projected down to these (Johnson and Lindenstrauss 1984 keep their distances)."""
MAPS: Final = ("heatmap_before", "heatmap_after", "mask_before", "mask_after")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClassInsight:
    """One class: `images` in the training split, of which `masked` have anything masked."""

    label: int
    name: str
    images: int
    masked: int
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True, slots=True)
class Insight:
    """What a run relied on, class by class.

    `maps` (K, 4, GRID, GRID) float32 in [0, 1]: mean heatmaps before and after, each image's scaled to [0, 1] first,
    then the share of images that have a cell masked, before (in the first round) and after (what the finetuned model
    would have masked). `cluster_masks` (M, GRID, GRID): the same share within each cluster, in their order.
    `clustered` is how many images the clusters were looked for in.
    """

    classes: tuple[ClassInsight, ...]
    clustered: int
    maps: Floats
    cluster_masks: Floats

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the maps."""
        return {"grid": GRID, "clustered": self.clustered, "classes": [asdict(found) for found in self.classes]}


class InsightCollector:
    """Adds up the pass over the training images, batch by batch; `finish` says what was found.

    `state` is all that it knows, as tensors, so that a resumed run goes on from where it stood.
    """

    def __init__(self, labels: npt.NDArray[np.int64], train: npt.NDArray[np.int64], *, classes: int, seed: int) -> None:
        self._labels, self._train, self._classes, self._seed = labels, train, classes, seed
        draw = np.random.default_rng(derive_seed(seed, "insight"))
        chosen = train if len(train) <= MOST_CLUSTERED else draw.choice(train, MOST_CLUSTERED, replace=False)
        self._chosen = np.sort(chosen)
        self._projection: Tensor | None = None
        cells = len(chosen), GRID, GRID
        self.state: dict[str, Tensor] = {
            "maps": torch.zeros((classes, len(MAPS), GRID, GRID), dtype=torch.float64),
            "images": torch.zeros(classes, dtype=torch.int64),
            "masked": torch.zeros(classes, dtype=torch.int64),
            "cells": torch.zeros(cells, dtype=torch.uint8),
            "features": torch.zeros((len(chosen), MOST_FEATURES)),
            "fraction": torch.zeros(len(chosen)),
        }

    def add(
        self,
        indices: npt.NDArray[np.int64],
        *,
        cams: tuple[Tensor, Tensor],
        masks: tuple[Masks, Masks],
        activations: Tensor,
        boxes: list[Box],
    ) -> None:
        """B training images: before and after, raw maps (B, h, w) and keep masks (H, W) of each image's own size.

        `activations` (B, C, h, w) are the CAM layer's features before, `boxes` the part of the image they cover.
        """
        sizes = [mask.shape for mask in masks[0]]
        fraction = torch.from_numpy(masked_fractions(masks[0]))
        labels = torch.from_numpy(self._labels[indices])
        state = self.state
        state["images"].index_add_(0, labels, torch.ones_like(labels))
        state["masked"].index_add_(0, labels, (fraction > 0).long())
        alike = len(set(zip(sizes, boxes, strict=True))) == 1
        add = self._add_alike if alike else self._add_each
        add(labels, [scaled(cam) for cam in cams], masks, boxes, sizes)
        places = np.searchsorted(self._chosen, indices).clip(max=len(self._chosen) - 1)
        kept = np.flatnonzero(self._chosen[places] == indices)
        if not len(kept):
            return
        here, there = torch.from_numpy(kept), torch.from_numpy(places[kept])
        shares = _pooled(masks[0][kept] if isinstance(masks[0], np.ndarray) else [masks[0][row] for row in kept])
        state["cells"][there] = (shares * 255).round().to(torch.uint8)
        state["fraction"][there] = fraction[here]
        weights = _on_view(shares, [boxes[row] for row in kept], [sizes[row] for row in kept], activations)
        state["features"][there] = self._described(activations[here.to(activations.device)].cpu().float(), weights)

    def _add_each(
        self,
        labels: Tensor,
        cams: list[Tensor],
        masks: tuple[Masks, Masks],
        boxes: list[Box],
        sizes: list[tuple[int, ...]],
    ) -> None:
        """Add B scaled maps (B, h, w), before and after, and masks to those of their classes."""
        grid = _places(boxes, sizes)
        maps = [*(_on_image(cam, grid) for cam in cams), *(_pooled(found) for found in masks)]
        self.state["maps"].index_add_(0, labels, torch.stack(maps, dim=1).double())  # (B, 4, G, G)

    def _add_alike(
        self,
        labels: Tensor,
        cams: list[Tensor],
        masks: tuple[Masks, Masks],
        boxes: list[Box],
        sizes: list[tuple[int, ...]],
    ) -> None:
        """The same for images of one size that are seen through one box, many times faster.

        To bring a map to the grid is linear: it is enough to do so with the sum of each class.
        """
        order = torch.argsort(labels, stable=True)
        present, counts = torch.unique_consecutive(labels[order], return_counts=True)
        rows = torch.split(order, counts.tolist())
        grid = _places(boxes[:1], sizes[:1]).expand(len(present), -1, -1, -1)
        heat = [_on_image(torch.stack([cam[own].sum(dim=0) for own in rows]), grid) for cam in cams]
        hidden = [torch.stack([_masked_count(found, own.tolist()) for own in rows]) for found in masks]
        maps = [*heat, *(F.adaptive_avg_pool2d(count, GRID) for count in hidden)]
        self.state["maps"].index_add_(0, present, torch.stack(maps, dim=1).double())  # (P, 4, G, G)

    def finish(self, names: tuple[str, ...]) -> Insight:
        """Means, and the clusters of every class. The same state and seed give the same answer."""
        state = self.state
        seen = state["images"].numpy()
        maps = (state["maps"] / state["images"].clamp_min(1)[:, None, None, None]).float().numpy()
        label_of = self._labels[self._chosen]
        found, cluster_masks = [], []
        for label, name in enumerate(names):
            rows = np.flatnonzero((label_of == label) & (state["fraction"].numpy() > 0))
            masked = Masked(
                index=self._chosen[rows],
                cells=state["cells"].numpy()[rows].astype(np.float32) / np.float32(255),
                features=state["features"].numpy()[rows],
                fraction=state["fraction"].numpy()[rows],
            )
            clusters, means = find_clusters(masked, seed=derive_seed(self._seed, "clusters", label) % 2**32)
            cluster_masks += means
            found.append(ClassInsight(label, name, int(seen[label]), int(state["masked"][label]), tuple(clusters)))
        return Insight(
            classes=tuple(found),
            clustered=len(self._chosen),
            maps=maps,
            cluster_masks=np.stack(cluster_masks) if cluster_masks else np.zeros((0, GRID, GRID), dtype=np.float32),
        )

    def _described(self, activations: Tensor, weights: Tensor) -> Tensor:
        """Features (B, C, h, w) averaged with `weights` (B, h, w), projected, of length 1: (B, MOST_FEATURES)."""
        pooled = (activations * weights[:, None]).sum(dim=(2, 3)) / weights.sum(dim=(1, 2)).clamp_min(1e-9)[:, None]
        channels = pooled.shape[1]
        if channels > MOST_FEATURES:
            if self._projection is None:
                draw = np.random.default_rng(derive_seed(self._seed, "insight projection"))
                matrix = draw.standard_normal((channels, MOST_FEATURES)) / math.sqrt(MOST_FEATURES)
                self._projection = torch.from_numpy(matrix.astype(np.float32))
            pooled = pooled @ self._projection
        return F.pad(F.normalize(pooled, dim=1), (0, MOST_FEATURES - pooled.shape[1]))


def scaled(cams: Tensor) -> Tensor:
    """Maps (B, h, w), each brought to [0, 1]; one that is the same everywhere becomes all zero."""
    cams = cams.float().cpu()
    low, high = cams.amin(dim=(1, 2), keepdim=True), cams.amax(dim=(1, 2), keepdim=True)
    spread = high - low
    usable = (spread > 0) & spread.isfinite()
    return torch.where(usable, (cams - low) / torch.where(usable, spread, 1.0), 0.0)


def _masked_count(masks: Masks, rows: list[int]) -> Tensor:
    """How many of the images `rows`, which have one size, have each pixel masked: (H, W) float32."""
    chosen = masks[rows] if isinstance(masks, np.ndarray) else np.stack([masks[row] for row in rows])
    return torch.from_numpy((len(rows) - chosen.sum(axis=0)).astype(np.float32))


def _places(boxes: list[Box], sizes: list[tuple[int, ...]]) -> Tensor:
    """Where the centres of an image's cells lie in its box, (B, GRID, GRID, 2) as x, y with the box at [-1, 1]."""
    box = torch.tensor(boxes, dtype=torch.float64)  # top, left, height, width
    size = torch.tensor(sizes, dtype=torch.float64)
    centres = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    y = 2 * (centres * size[:, :1] - box[:, :1]) / box[:, 2:3] - 1  # (B, GRID)
    x = 2 * (centres * size[:, 1:] - box[:, 1:2]) / box[:, 3:4] - 1
    return torch.stack([x[:, None, :].expand(-1, GRID, -1), y[:, :, None].expand(-1, -1, GRID)], dim=3).float()


def _on_image(maps: Tensor, grid: Tensor) -> Tensor:
    """Maps (B, h, w) of the boxes on the cells of the whole image, (B, GRID, GRID); zero where nothing was seen."""
    drawn = F.grid_sample(maps[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
    return drawn * (grid.abs() <= 1).all(dim=3)


def _pooled(masks: Masks) -> Tensor:
    """Share of every cell that is masked, (B, GRID, GRID), from keep masks of any sizes."""
    if isinstance(masks, np.ndarray):
        return F.adaptive_avg_pool2d(torch.from_numpy(~masks).float(), GRID)
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, mask in enumerate(masks):
        alike.setdefault(mask.shape, []).append(row)
    shares = torch.zeros((len(masks), GRID, GRID))
    for rows in alike.values():
        shares[rows] = _pooled(np.stack([masks[row] for row in rows]))
    return shares


def _on_view(shares: Tensor, boxes: list[Box], sizes: list[tuple[int, ...]], activations: Tensor) -> Tensor:
    """Shares (B, GRID, GRID) of the image's cells as weights (B, h, w) on the grid of the features.

    A mask that the grid of the features misses between its cells weighs the nearest ones by their distance, so that no
    masked image is left without a description.
    """
    height, width = activations.shape[2:]
    box, size = torch.tensor(boxes, dtype=torch.float32), torch.tensor(sizes, dtype=torch.float32)
    y = (box[:, :1] + (torch.arange(height) + 0.5) / height * box[:, 2:3]) / size[:, :1] * 2 - 1  # (B, h)
    x = (box[:, 1:2] + (torch.arange(width) + 0.5) / width * box[:, 3:4]) / size[:, 1:] * 2 - 1
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3)
    kernel = 2 * math.ceil(GRID / max(height, width) / 2) + 1
    smooth = F.avg_pool2d(shares[:, None], kernel, stride=1, padding=kernel // 2)
    return F.grid_sample(smooth, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]
