"""XGrad-CAM (Fu et al., Axiom-based Grad-CAM, arXiv 2008.02312, equation 8): the paper's method."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-7


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Map (B, h, w) = Σ_c w_c A_c with w_c = Σ_ij (G_c,ij · A_c,ij) / (Σ_ij A_c,ij + ε).

    `activations`, `gradients`: (B, C, h, w) float32, the latter ∂logit/∂A. Not rectified yet.
    """
    weights = (gradients * activations).sum(dim=(2, 3)) / (activations.sum(dim=(2, 3)) + EPSILON)
    return torch.einsum("bc,bchw->bhw", weights, activations)
