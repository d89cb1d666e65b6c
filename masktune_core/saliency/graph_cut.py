"""One forward pass whose autograd graph begins at the CAM layer, so that the backward pass costs only the head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local
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


@contextmanager
def graph_cut(model: nn.Module, layer: nn.Module) -> Iterator[Callable[[Tensor], CutForward]]:
    """Hook `layer` for as long as the context lasts; gives the function that runs `model` on images (B, 3, S, S).

    That runs without a graph up to `layer`'s output, and with one from there to the logits. Several threads may call it
    at a time, as there is one hook for all of them: to add or remove hooks while another thread runs the model would
    not be safe. Outside of it the model runs as ever. If the layer runs several times, its last output counts.

    The function restores the grad mode even if the model raises. It raises `ArchitectureError` if the layer does not
    run, or the outputs are not single tensors.
    """
    run = _Run()

    def cut(_layer: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not run.active:
            return None
        if not isinstance(output, Tensor) or not output.is_floating_point():
            raise ArchitectureError(
                f"the CAM layer ({type(_layer).__name__}) returns {type(output).__name__}, not a tensor of features: "
                "name another in model.cam_layer"
            )
        run.leaf = output.detach().requires_grad_()
        torch.set_grad_enabled(True)
        return run.leaf.clone() if run.copy else run.leaf

    def once(images: Tensor, *, copy: bool) -> CutForward:
        run.active, run.copy, run.leaf = True, copy, None
        try:
            # inference mode would forbid the graph of the head
            with torch.inference_mode(mode=False), torch.no_grad():
                logits = model(images)
            leaf = run.leaf
        finally:
            run.active, run.leaf = False, None
        if leaf is None:
            raise ArchitectureError(f"the CAM layer ({type(layer).__name__}) does not run when an image is classified")
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise ArchitectureError(f"{type(model).__name__} does not return logits (B, K)")
        return CutForward(leaf, logits)

    def forward(images: Tensor) -> CutForward:
        try:
            return once(images, copy=layer in _FOLLOWED_IN_PLACE)
        except RuntimeError as error:
            # autograd refuses to overwrite a leaf; a copy for every layer would cost 5 % of a small network's time
            if "in-place operation" not in str(error) or layer in _FOLLOWED_IN_PLACE:
                raise
            result = once(images, copy=True)
            _FOLLOWED_IN_PLACE.add(layer)
            return result

    handle = layer.register_forward_hook(cut)
    try:
        yield forward
    finally:
        handle.remove()


class _Run(local):
    """What one thread's run of the model is about; each thread sees its own."""

    active = False
    copy = False
    leaf: Tensor | None = None


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
