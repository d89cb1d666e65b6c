"""Grad-CAM++ (Chattopadhyay et al., arXiv 1710.11063, equations 10 and 19)."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Map (B, h, w) = Σ_c w_c A_c with w_c = Σ_ij α_ij ReLU(G_ij), α = G² / (2 G² + G³ Σ_ab A_ab + ε).

    `activations`, `gradients`: (B, C, h, w) float32, the latter ∂logit/∂A. Not rectified yet.
    """
    squared = gradients.square()
    totals = activations.sum(dim=(2, 3), keepdim=True)
    alphas = squared / (2 * squared + squared * gradients * totals + EPSILON)  # 0 where the gradient is 0
    weights = (alphas * gradients.relu()).sum(dim=(2, 3))
    return torch.einsum("bc,bchw->bhw", weights, activations)
