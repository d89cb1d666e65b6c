"""Eigen-CAM (Muhammad & Yeasin, arXiv 2008.00299): the first principal component of the activations."""

from __future__ import annotations

import torch
from torch import Tensor


def eigencam(activations: Tensor, gradients: Tensor | None = None) -> Tensor:  # noqa: ARG001 - one signature for all
    """Map (B, h, w): each pixel's channel vector, centred, projected on the direction of largest variance.

    `activations`: (B, C, h, w) float32. No gradients and no class are used. The sign of a principal component is
    arbitrary: here the side that reaches further from the mean is positive. Not rectified yet.
    """
    batch, _, height, width = activations.shape
    pixels = activations.flatten(2).transpose(1, 2)  # (B, hw, C)
    pixels = pixels - pixels.mean(dim=1, keepdim=True)
    if pixels.shape[1] <= pixels.shape[2]:  # the smaller of the two Gram matrices has the same leading component
        values, vectors = torch.linalg.eigh(pixels @ pixels.transpose(1, 2))
        maps = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(pixels.transpose(1, 2) @ pixels)
        maps = (pixels @ vectors[:, :, -1:]).squeeze(2)
    upside_down = maps.amin(dim=1).abs() > maps.amax(dim=1).abs()
    maps = torch.where(upside_down[:, None], -maps, maps)
    return maps.reshape(batch, height, width)
