"""Saliency maps of a batch of images, in one forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from masktune_core.errors import ConfigError
from masktune_core.models.feature_grid import feature_grid
from masktune_core.models.layers import cam_layer
from masktune_core.saliency.eigencam import eigencam
from masktune_core.saliency.graph_cut import evaluation_mode, forward_cut
from masktune_core.saliency.methods import GRADIENT_METHODS, METHODS
from masktune_core.saliency.scorecam import scorecam


@dataclass(frozen=True, slots=True)
class Explanation:
    """`cams`: raw maps (B, h, w) float32 ≥ 0 on the CAM layer's grid; `logits`: (B, K) of the same forward pass."""

    cams: Tensor
    logits: Tensor


def compute_cams(model: nn.Module, images: Tensor, *, method: str = "xgradcam", target: Tensor | None = None) -> Tensor:
    """Raw saliency maps (B, h, w) float32, ReLU applied, on the grid of the model's CAM layer.

    `images`: (B, 3, S, S) as the model takes them. `target`: (B,) int64, the class to explain; default: the predicted.
    See `explain` for the rest.

    >>> cams = compute_cams(build_model("small_cnn", 2), torch.rand(4, 3, 28, 28))   # (4, 8, 8)
    """
    return explain(model, images, method=method, target=target).cams


def explain(
    model: nn.Module,
    images: Tensor,
    *,
    method: str = "xgradcam",
    target: Tensor | None = None,
    layer: nn.Module | None = None,
) -> Explanation:
    """Maps and logits from one forward pass in evaluation mode; the graph is cut at the CAM layer (`graph_cut.py`).

    `images`: (B, 3, S, S) float32, on the model's device. `method`: one of `METHODS`. `target`: (B,) int64, default
    the predicted class. `layer`: default `cam_layer(model)`. Parameters get no gradients, and hooks, the modules'
    modes and the grad mode are as before when this returns or raises.
    Raises `ConfigError` for an unknown method or a target outside the classes, `ArchitectureError` if the layer holds
    no grid or the logits do not depend on it. Source: MaskTune (arXiv 2210.00055), section 3.1.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown saliency method {method!r}: use one of {', '.join(METHODS)}")
    layer = cam_layer(model) if layer is None else layer
    if images.device.type == "cpu":
        images = images.contiguous(memory_format=torch.channels_last)  # spares oneDNN a reordering: 10-15 % faster
    with evaluation_mode(model):
        forward = forward_cut(model, layer, images)
        logits = forward.logits.detach()
        targets = _targets(target, logits)
        activations = feature_grid(forward.activations.detach(), model).float()
        if method == "eigencam":
            maps = eigencam(activations)
        elif method == "scorecam":
            with torch.no_grad():
                maps = scorecam(activations, images, targets, model)
        else:
            gradients = feature_grid(forward.gradients(targets), model).float()
            maps = GRADIENT_METHODS[method](activations, gradients)
    return Explanation(maps.relu_(), logits)


def _targets(target: Tensor | None, logits: Tensor) -> Tensor:
    if target is None:
        return logits.argmax(dim=1)
    batch, classes = logits.shape
    if target.shape != (batch,):
        raise ConfigError(f"target must hold one class for each of {batch} images, got shape {tuple(target.shape)}")
    target = target.to(device=logits.device, dtype=torch.int64)
    if batch and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise ConfigError(f"target classes must lie in 0…{classes - 1}, got {int(target.min())}…{int(target.max())}")
    return target
