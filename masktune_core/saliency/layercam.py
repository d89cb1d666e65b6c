"""LayerCAM (Jiang et al., IEEE Transactions on Image Processing 30, 2021, equations 5 to 7)."""

from __future__ import annotations

from torch import Tensor


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Map (B, h, w) = Σ_c ReLU(G_c) · A_c, pixel by pixel.

    `activations`, `gradients`: (B, C, h, w) float32, the latter ∂logit/∂A. Not rectified yet.
    """
    return (gradients.relu() * activations).sum(dim=1)
