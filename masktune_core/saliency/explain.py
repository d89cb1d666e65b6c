"""Saliency maps of a batch of images, from one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from masktune_core.errors import ConfigError
from masktune_core.models.feature_grid import feature_grid
from masktune_core.models.layers import cam_layer
from masktune_core.saliency.eigencam import eigencam
from masktune_core.saliency.folding import folded
from masktune_core.saliency.graph_cut import CutForward, evaluation_mode, graph_cut
from masktune_core.saliency.in_parts import in_parts
from masktune_core.saliency.methods import GRADIENT_METHODS, METHODS
from masktune_core.saliency.scorecam import scorecam


@dataclass(frozen=True, slots=True)
class Explanation:
    """`cams`: raw maps (B, h, w) float32 ≥ 0 on the CAM layer's grid; `logits`: (B, K) of the same forward pass.

    `activations`: (B, C, h, w) float32, the CAM layer's features, if they were asked for.
    """

    cams: Tensor
    logits: Tensor
    activations: Tensor | None = None


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
    keep_activations: bool = False,
) -> Explanation:
    """Maps and logits from one forward pass in evaluation mode; the graph is cut at the CAM layer (`graph_cut.py`).

    `images`: (B, 3, S, S) float32, on the model's device. `method`: one of `METHODS`. `target`: (B,) int64, default
    the predicted class. `layer`: default `cam_layer(model)`. `keep_activations`: hand out the layer's features as well,
    which costs their memory. Under autocast the network runs in half precision, and maps are float32 all the same.
    Parameters get no gradients, and hooks, the modules' modes and the grad mode are as before when this returns or
    raises.
    Raises `ConfigError` for an unknown method or a target outside the classes, `ArchitectureError` if the layer holds
    no grid or the logits do not depend on it. Source: MaskTune (arXiv 2210.00055), section 3.1.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown saliency method {method!r}: use one of {', '.join(METHODS)}")
    if target is not None and target.shape != (len(images),):
        raise ConfigError(f"target must hold a class for each of {len(images)} images, got shape {tuple(target.shape)}")
    layer = cam_layer(model) if layer is None else layer
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        if images.device.type != "cpu":
            run = stack.enter_context(graph_cut(model, layer))
            return _explain(model, run, images, method, target, keep_activations)
        network, layer = folded(model, layer, images[:1]) if len(images) else (model, layer)
        run = stack.enter_context(graph_cut(network, layer))

        def explain_part(part: Tensor, where: slice) -> Explanation:
            return _explain(network, run, part, method, None if target is None else target[where], keep_activations)

        parts = in_parts(explain_part, images)
    kept = [part.activations for part in parts if part.activations is not None]
    return Explanation(
        torch.cat([part.cams for part in parts]),
        torch.cat([part.logits for part in parts]),
        torch.cat(kept) if kept else None,
    )


def _explain(
    model: nn.Module,
    run: Callable[[Tensor], CutForward],
    images: Tensor,
    method: str,
    target: Tensor | None,
    keep_activations: bool,
) -> Explanation:
    forward = run(images)
    logits = forward.logits.detach()
    targets = logits.argmax(dim=1) if target is None else _checked(target.to(logits.device, torch.int64), logits)
    activations = feature_grid(forward.activations.detach(), model).float()
    if method == "scorecam":
        with torch.no_grad():
            maps = scorecam(activations, images, targets, model).float()
    else:
        gradients = None if method == "eigencam" else feature_grid(forward.gradients(targets), model).float()
        with torch.autocast(images.device.type, enabled=False):  # the network may run in half precision, sums may not
            maps = eigencam(activations) if gradients is None else GRADIENT_METHODS[method](activations, gradients)
    return Explanation(maps.relu_(), logits, activations if keep_activations else None)


def _checked(targets: Tensor, logits: Tensor) -> Tensor:
    classes = logits.shape[1]
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise ConfigError(f"target classes must lie in 0…{classes - 1}, got {int(targets.min())}…{int(targets.max())}")
    return targets
