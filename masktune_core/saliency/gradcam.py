"""Grad-CAM (Selvaraju et al., arXiv 1610.02391, equations 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Map (B, h, w) = Σ_c w_c A_c with w_c the mean of G_c.

    `activations`, `gradients`: (B, C, h, w) float32, the latter ∂logit/∂A. Not rectified yet.
    """
    return torch.einsum("bc,bchw->bhw", gradients.mean(dim=(2, 3)), activations)
