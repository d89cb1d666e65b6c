"""A layer's features as a grid, whatever layout the network keeps them in."""

from __future__ import annotations

import math

from torch import Tensor, nn

from masktune_core.errors import ArchitectureError


def feature_grid(features: Tensor, model: nn.Module) -> Tensor:
    """Features of one layer of `model` as (B, C, h, w); a view, nothing is copied.

    Accepts maps (B, C, h, w), maps with channels last (B, h, w, C) as in Swin, and tokens (B, N, C) as in ViT, whose
    class and register tokens stand first and are dropped. Input images are square, so grids are.
    Raises `ArchitectureError` for any other shape.
    """
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if _channels_are_last(features, model) else features
    if features.ndim == 3:
        for prefix in (int(getattr(model, "num_prefix_tokens", 0)), 0):
            side = math.isqrt(max(features.shape[1] - prefix, 0))
            if side and side * side == features.shape[1] - prefix:
                tokens = features[:, prefix:].transpose(1, 2)
                return tokens.view(*tokens.shape[:2], side, side)
    raise ArchitectureError(
        f"a layer whose output has shape {tuple(features.shape)} holds no grid to explain: name another in "
        "model.cam_layer, with an output (B, C, h, w) or a square number of tokens (B, N, C)"
    )


def _channels_are_last(features: Tensor, model: nn.Module) -> bool:
    _, first, second, third = features.shape
    if first == second != third:
        return True
    if first == second == third:
        return getattr(model, "output_fmt", None) == "NHWC"
    return False
