"""Whether an input size suits a network and its CAM layer, found out before training."""

from __future__ import annotations

import torch
from torch import nn

from masktune_core.errors import ArchitectureError, ConfigError
from masktune_core.models.feature_grid import feature_grid
from masktune_core.models.layers import cam_layer
from masktune_core.saliency.graph_cut import evaluation_mode, graph_cut


def cam_grid(model: nn.Module, size: int, *, layer: nn.Module | None = None) -> tuple[int, int]:
    """Height and width of the maps for an input of `size` px, from one black image.

    Raises `ArchitectureError` if the model cannot take that size or `layer` (default: `cam_layer(model)`) cannot be
    explained, and `ConfigError` if the grid is a single cell, which could only mask everything or nothing.
    """
    layer = cam_layer(model) if layer is None else layer
    example = next(model.parameters())
    image = torch.zeros(1, 3, size, size, device=example.device, dtype=example.dtype)
    with evaluation_mode(model), graph_cut(model, layer) as run:
        try:
            forward = run(image)
        except (AssertionError, RuntimeError, ValueError, TypeError) as error:
            raise ArchitectureError(f"{type(model).__name__} cannot take an input of {size} px: {error}") from error
        forward.gradients(forward.logits.detach().argmax(dim=1))
        height, width = feature_grid(forward.activations.detach(), model).shape[2:]
    if height * width == 1:
        raise ConfigError(
            f"at {size} px the CAM layer of {type(model).__name__} has a grid of 1×1, which cannot tell pixels apart: "
            "raise input.size, or name an earlier layer in model.cam_layer"
        )
    return height, width
