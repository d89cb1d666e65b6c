"""Colour and motion of training images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from masktune_core.config import AugmentConfig, InputConfig
from masktune_core.data.augment import move, recolor, training_views
from tests.masktune_core.archives import picture

ALL = AugmentConfig(
    random_resized_crop=(0.5, 1.0),
    horizontal_flip=True,
    rotation_degrees=15.0,
    translate=0.1,
    color_jitter=0.4,
    pca_lighting=0.1,
)


def batch(count: int, side: int = 16) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.stack([picture(i, side, side) for i in range(count)])).permute(0, 3, 1, 2)
    return pixels.contiguous().to(torch.float32) / 255.0, pixels.contiguous()


def test_a_sample_looks_the_same_alone_and_in_company() -> None:
    images, pixels = batch(33)
    indices = np.arange(100, 133)
    sizes = np.full((33, 2), 16, dtype=np.int32)
    config = InputConfig(size=16, augment=ALL)

    def augmented(rows: slice) -> Tensor:
        views = training_views(indices[rows], sizes[rows], config, seed=1, epoch=2)
        return move(recolor(images[rows], pixels[rows], indices[rows], ALL, seed=1, epoch=2), views)

    together = augmented(slice(None))
    for row in (0, 7, 32):
        assert torch.equal(augmented(slice(row, row + 1))[0], together[row])
    assert torch.equal(augmented(slice(5, 21)), together[5:21])


def test_another_epoch_and_another_seed_look_different() -> None:
    images, pixels = batch(4)
    looks = [
        recolor(images, pixels, np.arange(4), ALL, seed=seed, epoch=epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for i in range(3):
        assert all((looks[i][row] != looks[i - 1][row]).any() for row in range(4))


def test_the_input_is_left_alone() -> None:
    images, pixels = batch(4)
    before = images.clone()
    recolor(images, pixels, np.arange(4), ALL, seed=0, epoch=0)
    assert torch.equal(images, before)


def test_jitter_is_torchvisions_contrast_brightness_and_saturation(monkeypatch: pytest.MonkeyPatch) -> None:
    images, pixels = batch(1)
    draws = np.array([[0.9, 0.2, 0.6]])
    monkeypatch.setattr("masktune_core.data.augment.uniform", lambda *_, **__: draws)
    ours = recolor(images, pixels, np.arange(1), AugmentConfig(color_jitter=0.5), seed=0, epoch=0)
    contrast, brightness, saturation = (1 + 0.5 * (2 * draws[0] - 1)).tolist()
    theirs = tv.adjust_contrast(images, contrast)
    theirs = tv.adjust_brightness(theirs, brightness)
    theirs = tv.adjust_saturation(theirs, saturation)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)


def test_lighting_adds_one_colour_per_image_along_the_principal_axes() -> None:
    images, pixels = batch(2000, side=8)
    lit = recolor(images, pixels, np.arange(2000), AugmentConfig(pca_lighting=0.1), seed=0, epoch=0)
    shift = (lit - images).double()
    color = shift.mean(dim=(2, 3))
    assert (shift - color[:, :, None, None]).abs().max() < 1e-6
    assert color.mean(0).abs().max() < 2e-3
    # The first axis (grey) carries nearly all: 0.1 × 0.2175 in length.
    assert abs(float(color.std(0).square().sum().sqrt()) / (0.1 * np.hypot(0.2175, 0.0188)) - 1) < 0.05


def test_turning_by_a_quarter_is_exact() -> None:
    images, _ = batch(1)
    config = InputConfig(size=16)
    views = training_views(np.arange(1), np.full((1, 2), 16, dtype=np.int32), config, seed=0, epoch=0)
    views.turn[0] = np.pi / 2
    torch.testing.assert_close(move(images, views), images.rot90(-1, (2, 3)), atol=1e-5, rtol=0)


def test_shifting_brings_in_black() -> None:
    images, _ = batch(1)
    views = training_views(np.arange(1), np.full((1, 2), 16, dtype=np.int32), InputConfig(size=16), seed=0, epoch=0)
    views.shift[0] = (3, -2)  # down, left
    moved = move(images, views)
    torch.testing.assert_close(moved[:, :, 3:, :-2], images[:, :, :-3, 2:], atol=1e-5, rtol=0)
    assert moved[:, :, :3].abs().max() < 1e-5
    assert moved[:, :, :, -2:].abs().max() < 1e-5


def test_shifts_are_whole_pixels_within_bounds() -> None:
    config = InputConfig(size=32, augment=AugmentConfig(rotation_degrees=15.0, translate=0.1))
    views = training_views(np.arange(500), np.full((500, 2), 32, dtype=np.int32), config, seed=0, epoch=0)
    assert (views.shift == np.round(views.shift)).all()
    assert set(np.unique(views.shift)) == set(range(-3, 4))
    assert np.abs(np.rad2deg(views.turn)).max() <= 15.0
    assert np.rad2deg(views.turn).std() > 7.0
