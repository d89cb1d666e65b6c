"""One forward pass whose autograd graph begins at the CAM layer, so that the backward pass costs only the head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakSet

import torch
from torch import Tensor, nn

from masktune_core.errors import ArchitectureError

_FOLLOWED_IN_PLACE: WeakSet[nn.Module] = WeakSet()
"""Layers found to be followed by an operation that overwrites their output: these hand on a copy."""


@dataclass(frozen=True, slots=True)
class CutForward:
    """`activations`: the CAM layer's output in its own layout, a leaf of the graph; `logits` (B, K)."""

    activations: Tensor
    logits: Tensor

    def gradients(self, targets: Tensor) -> Tensor:
        """∂(logit of each image's target class) / ∂activations, shaped like them. `targets`: (B,) int64.

        Raises `ArchitectureError` if the logits do not depend on the layer.
        """
        gradient = None
        if self.logits.requires_grad:
            with torch.inference_mode(mode=False):  # the caller may be in it
                seed = torch.zeros_like(self.logits).scatter_(1, targets[:, None], 1.0)  # images do not interact
                (gradient,) = torch.autograd.grad(self.logits, self.activations, seed, allow_unused=True)
        if gradient is None:
            raise ArchitectureError(
                "the logits do not depend on the CAM layer's output: name another in model.cam_layer"
            )
        return gradient


def forward_cut(model: nn.Module, layer: nn.Module, images: Tensor) -> CutForward:
    """Run `model` on images (B, 3, S, S): without a graph up to `layer`'s output, with one from there to the logits.

    The hook is released, and the grad mode restored, even if the model raises. If the layer runs several times, its
    last output counts. Raises `ArchitectureError` if the layer does not run, or the outputs are not single tensors.
    """
    try:
        return _forward_cut(model, layer, images, copy=layer in _FOLLOWED_IN_PLACE)
    except RuntimeError as error:
        # autograd refuses to overwrite a leaf; a copy for every layer would cost 5 % of a small network's time
        if "in-place operation" not in str(error) or layer in _FOLLOWED_IN_PLACE:
            raise
        result = _forward_cut(model, layer, images, copy=True)
        _FOLLOWED_IN_PLACE.add(layer)
        return result


def _forward_cut(model: nn.Module, layer: nn.Module, images: Tensor, *, copy: bool) -> CutForward:
    leaves: list[Tensor] = []

    def cut(_layer: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            raise ArchitectureError(
                f"the CAM layer ({type(_layer).__name__}) returns {type(output).__name__}, not a tensor of features: "
                "name another in model.cam_layer"
            )
        leaf = output.detach().requires_grad_()
        leaves[:] = [leaf]
        torch.set_grad_enabled(True)
        return leaf.clone() if copy else leaf

    handle = layer.register_forward_hook(cut)
    try:
        # inference mode would forbid the graph of the head
        with torch.inference_mode(mode=False), torch.no_grad():
            logits = model(images)
    finally:
        handle.remove()
    if not leaves:
        raise ArchitectureError(f"the CAM layer ({type(layer).__name__}) does not run when an image is classified")
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ArchitectureError(f"{type(model).__name__} does not return logits (B, K)")
    return CutForward(leaves[0], logits)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, and afterwards each back into the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
