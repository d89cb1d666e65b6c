"""One geometry for map, mask, crop and flip: a mark in an image, followed all the way round.

A spot is drawn in an image; a network that looks at bright pixels explains the evaluation view; the mask that comes of
its map is brought back to image pixels; then the image is masked, cropped, resized, mirrored, turned and shifted as in
training. The spot must be masked in the image, and gone from the view, where the view's own coordinates say it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from masktune_core.config import AugmentConfig, InputConfig
from masktune_core.data.augment import training_views
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.mask_store import MaskStore
from masktune_core.masking import image_keep_masks
from masktune_core.saliency import explain
from tests.masktune_core.archives import write_dataset

CPU = torch.device("cpu")
GREY, WHITE = 64, 255


class LooksAtBrightPixels(nn.Module):
    """Its CAM layer shows how much brighter than grey each 2 × 2 pixels are; its one logit is their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 2, stride=2)
        nn.init.constant_(self.layer.weight, 1.0 / 12.0)
        nn.init.constant_(self.layer.bias, -1.2 * GREY / 255.0)  # type: ignore[arg-type]  # it has one

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer(images).relu().sum(dim=(2, 3))
        return logits


def image_with_spot(height: int, width: int, top: int, left: int, side: int) -> NDArray[np.uint8]:
    image = np.full((height, width, 3), GREY, dtype=np.uint8)
    image[top : top + side, left : left + side] = WHITE
    return image


AUGMENTS = st.builds(
    AugmentConfig,
    random_resized_crop=st.none() | st.tuples(st.floats(0.4, 0.6), st.floats(0.6, 1.0)),
    horizontal_flip=st.booleans(),
    rotation_degrees=st.sampled_from([0.0, 20.0, 180.0]),
    translate=st.sampled_from([0.0, 0.1]),
)


@given(
    sides=st.tuples(st.integers(60, 110), st.integers(60, 110)),
    at=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
    resize=st.none() | st.sampled_from([48, 56]),
    center_crop=st.none() | st.integers(50, 100),
    augment=AUGMENTS,
    epoch=st.integers(1, 1000),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mark_is_masked_where_it_is_and_missing_wherever_the_view_takes_it(
    tmp_path_factory: pytest.TempPathFactory,
    sides: tuple[int, int],
    at: tuple[float, float],
    resize: int | None,
    center_crop: int | None,
    augment: AugmentConfig,
    epoch: int,
) -> None:
    config = InputConfig(size=48, resize=resize, center_crop=center_crop, augment=augment)
    top, left, height, width = config.evaluation_box(*sides)
    side = max(6, round(0.15 * max(height, width)))
    spot_top, spot_left = round(top + at[0] * (height - side)), round(left + at[1] * (width - side))
    image = image_with_spot(*sides, spot_top, spot_left, side)
    folder = tmp_path_factory.mktemp("marked")
    with (
        write_dataset(folder / "dataset.zip", [image]) as dataset,
        Loader(dataset, config, device=CPU, workers=1, cache_mib=0) as loader,
        MaskStore.create(folder / "masks", *dataset.sizes.T) as masks,
    ):
        keep = masked_by_map(dataset, loader)
        masks.put([0], [keep])

        cell = 2 * max(height, width) / config.size  # of the map, in image pixels
        center = np.array([spot_top + side / 2, spot_left + side / 2])
        assert not keep[distance(*sides, center) < side / 2 - cell / 2].any(), "the spot is masked but for its rim"
        assert keep[distance(*sides, center) > side / 2 + 2 * cell].all(), "and nothing else is"

        chosen = np.zeros(1, dtype=np.int64)
        (seen,) = loader.train_epoch(chosen, seed=5, epoch=epoch, batch_size=1)
        (shown,) = loader.train_epoch(chosen, seed=5, epoch=epoch, batch_size=1, masks=masks)
        views = training_views(chosen, dataset.sizes, config, seed=5, epoch=epoch)
    y, x = views.follow(center[None])[0]
    box, margin = views.boxes[0], 3 * max(height, width) / config.size
    assume((np.abs(center - box[:2] - box[2:] / 2) < box[2:] / 2 - margin).all())  # else it is cropped away
    assume(2 <= y < config.size - 2 and 2 <= x < config.size - 2)  # or turned or shifted out of sight
    before, after = seen.image[0], shown.image[0]
    assert before[:, int(y), int(x)].min() > 0.9, "the spot is where the view says"
    assert after[:, int(y), int(x)].max() < 0.1, "and is black once it is masked"
    scale = (config.size / views.boxes[0, 2:]).max()
    away = distance(config.size, config.size, np.array([y, x])) > 1.5 * (side / 2 + 2 * cell) * scale + 2
    assert torch.equal(before[:, away], after[:, away]), "and all that is far from it stays"


def distance(height: int, width: int, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the centre of each pixel lies from `point` (y, x), along the axis that is further: (height, width)."""
    rows, columns = np.abs(np.arange(height) + 0.5 - point[0]), np.abs(np.arange(width) + 0.5 - point[1])
    further: NDArray[np.float64] = np.maximum(rows[:, None], columns[None, :])
    return further


def masked_by_map(dataset: Dataset, loader: Loader) -> NDArray[np.bool_]:
    """What the network's map of the evaluation view masks, in the image's own pixels."""
    (batch,) = loader.eval_batches(np.zeros(1, dtype=np.int64), batch_size=1)
    model = LooksAtBrightPixels()
    cams = explain(model, batch.image, layer=model.layer, method="layercam").cams
    sizes: Sequence[tuple[int, int]] = [tuple(dataset.sizes[0].tolist())]
    return image_keep_masks(cams, loader.boxes(np.zeros(1, dtype=np.int64)), sizes, k=0.0)[0]
