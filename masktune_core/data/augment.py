"""Random changes of a training image, each a function of (seed, epoch, sample index) alone.

`training_views` draws the geometry; `recolor` changes colours of a batch. Both draw for a whole batch at once and give
a sample the same values whatever else is in it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masktune_core.config import AugmentConfig, InputConfig
from masktune_core.data.philox import Stream, uniform
from masktune_core.data.views import Views, center_boxes, evaluation_views

_CROP_TRIES: Final = 10
_ASPECT: Final = (3 / 4, 4 / 3)
# Rec. 601 luma, as torchvision's and Pillow's greyscale.
_LUMA: Final = (0.299, 0.587, 0.114)
# Eigenvalues and eigenvectors of ImageNet's RGB covariance (Krizhevsky et al. 2012, section 4.1).
_PCA_VALUES: Final = np.array([0.2175, 0.0188, 0.0045])
_PCA_VECTORS: Final = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def training_views(
    indices: NDArray[np.int64], sizes: NDArray[np.int32], config: InputConfig, *, seed: int, epoch: int
) -> Views:
    """The random view of images `indices` (B,) of `sizes` (B, 2) in one epoch."""
    augment = config.augment
    views = evaluation_views(sizes, config)
    regions, boxes, flip, turn, shift = views.regions, views.boxes, views.flip, views.turn, views.shift
    if augment.random_resized_crop is not None:
        region = center_boxes(sizes, config.center_crop)
        draws = uniform(indices, seed=seed, epoch=epoch, stream=Stream.CROP, draws=2 * _CROP_TRIES + 2)
        regions = _random_crops(region, augment.random_resized_crop, draws)
        boxes = regions.astype(np.float64)
    if augment.horizontal_flip:
        flip = np.less(uniform(indices, seed=seed, epoch=epoch, stream=Stream.FLIP, draws=1)[:, 0], 0.5)
    if augment.rotation_degrees or augment.translate:
        draws = 2.0 * uniform(indices, seed=seed, epoch=epoch, stream=Stream.AFFINE, draws=3) - 1.0
        turn = np.deg2rad(augment.rotation_degrees) * draws[:, 0]
        shift = np.round(augment.translate * config.size * draws[:, 1:])
    return Views(config.size, regions, boxes, flip, turn, shift)


def _random_crops(
    region: NDArray[np.int64], area: tuple[float, float], draws: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Inception-style crops inside `region` (B, 4): the first of ten tries that fits, else the largest centred one.

    Szegedy et al. 2015, section 6, with the aspect ratio log-uniform in [3/4, 4/3] as in torchvision.
    """
    extent = region[:, 2:].astype(np.float64)  # (B, 2) height, width
    tries = draws[:, : 2 * _CROP_TRIES].reshape(-1, _CROP_TRIES, 2)
    target = extent.prod(axis=1, keepdims=True) * (area[0] + (area[1] - area[0]) * tries[:, :, 0])  # (B, tries)
    aspect = np.exp(np.log(_ASPECT[0]) + np.log(_ASPECT[1] / _ASPECT[0]) * tries[:, :, 1])
    sides = np.round(np.stack([np.sqrt(target / aspect), np.sqrt(target * aspect)], axis=2))  # (B, tries, 2)
    fits = ((sides >= 1) & (sides <= extent[:, None, :])).all(axis=2)
    chosen = sides[np.arange(len(sides)), fits.argmax(axis=1)]

    limits = np.stack([extent[:, 1] / _ASPECT[1], extent[:, 0] * _ASPECT[1]], axis=1)
    fallback = np.maximum(np.floor(np.minimum(extent, limits)), 1.0)
    fitted = np.any(fits, axis=1, keepdims=True)
    chosen = np.where(fitted, chosen, fallback)
    room = extent - chosen
    start = np.where(fitted, np.floor(draws[:, 2 * _CROP_TRIES :] * (room + 1.0)), np.floor(room / 2.0))
    return np.concatenate([region[:, :2] + start, chosen], axis=1).astype(np.int64)


def recolor(
    images: Tensor, pixels: Tensor, indices: NDArray[np.int64], augment: AugmentConfig, *, seed: int, epoch: int
) -> Tensor:
    """Jitter and light a batch of views `images` (B, 3, S, S) float32 in [0, 1]; `pixels` is the same as uint8.

    Contrast, brightness, saturation in this order, each by a factor in [1 - strength, 1 + strength]; then PCA lighting,
    which may leave [0, 1].
    """
    if augment.color_jitter:
        strength = augment.color_jitter
        draws = uniform(indices, seed=seed, epoch=epoch, stream=Stream.JITTER, draws=3)
        contrast, brightness, saturation = (
            _per_image(1.0 + strength * (2.0 * column - 1.0), images.device) for column in draws.T
        )
        # Whole-number sums are exact, so an image's mean does not depend on the batch it is in.
        sums = pixels.sum(dim=(2, 3), dtype=torch.int64).cpu().numpy()
        means = _per_image(sums @ np.array(_LUMA) / (255.0 * images.shape[2] * images.shape[3]), images.device)
        images = _blend(images, means, contrast)
        images = (images * brightness).clamp_(0.0, 1.0)
        red, green, blue = images.unbind(1)
        grey = (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(1)
        images = _blend(images, grey, saturation)
    if augment.pca_lighting:
        draws = uniform(indices, seed=seed, epoch=epoch, stream=Stream.LIGHTING, draws=6)
        # Box–Muller; 1 - u is in (0, 1].
        normal = np.sqrt(-2.0 * np.log(1.0 - draws[:, :3])) * np.cos(2.0 * np.pi * draws[:, 3:])
        light = (augment.pca_lighting * normal * _PCA_VALUES) @ _PCA_VECTORS.T  # (B, 3)
        images = images + torch.from_numpy(light.astype(np.float32)).to(images.device)[:, :, None, None]
    return images


def move(images: Tensor, views: Views) -> Tensor:
    """Mirror, turn and shift a batch (B, 3, S, S) as `views` say; what comes in from outside is 0."""
    if np.any(views.flip):
        flip = torch.from_numpy(views.flip).to(images.device)[:, None, None, None]
        images = torch.where(flip, images.flip(3), images)
    if np.any(views.turn) or np.any(views.shift):
        grid = _sampling_grid(views, images.device)
        images = torch.nn.functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
    return images


def _sampling_grid(views: Views, device: torch.device) -> Tensor:
    """(B, S, S, 2) source x, y in [-1, 1] for each view pixel, as `grid_sample` wants it.

    Element by element rather than `affine_grid`, whose matrix product may round differently in another batch size.
    """
    axis = (torch.arange(views.size, dtype=torch.float32, device=device) * 2.0 + 1.0) / views.size - 1.0
    cos, sin, down, right = (
        torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None]
        for values in (np.cos(views.turn), np.sin(views.turn), *(2.0 / views.size * views.shift.T))
    )
    y, x = axis[None, :, None] - down, axis[None, None, :] - right  # (B, S, 1), (B, 1, S)
    return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=3)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (images * factor + other * (1.0 - factor)).clamp_(0.0, 1.0)


def _per_image(values: NDArray[np.float64], device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None, None]
