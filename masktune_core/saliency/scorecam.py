"""Score-CAM (Wang et al., arXiv 1910.01279): a channel counts for what the class scores when only it is shown."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor

BATCH = 128
EPSILON = 1e-8


def scorecam(activations: Tensor, images: Tensor, targets: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
    """Map (B, h, w) = Σ_c w_c A_c with w = softmax over c of the target's logit for the image seen through channel c.

    `activations` (B, C, h, w) float32; `images` (B, 3, S, S); `targets` (B,) int64; `forward` maps images to logits
    (B, K) without a graph. It is called ⌈B·C / 128⌉ times, so this costs C times as much as the other methods.
    Not rectified yet.
    """
    batch, channels = activations.shape[:2]
    scores = [activations.new_empty(0)]  # of a process that has no share of a batch there is nothing to score
    for start in range(0, batch * channels, BATCH):
        pairs = torch.arange(start, min(start + BATCH, batch * channels), device=activations.device)
        image, channel = pairs // channels, pairs % channels
        veils = F.interpolate(
            activations[image, channel].unsqueeze(1), size=images.shape[-2:], mode="bilinear", align_corners=False
        )
        low, high = veils.amin(dim=(2, 3), keepdim=True), veils.amax(dim=(2, 3), keepdim=True)
        veils = (veils - low) / (high - low + EPSILON)
        logits = forward(images[image] * veils)
        scores.append(logits.gather(1, targets[image, None]).squeeze(1))
    weights = torch.cat(scores).float().reshape(batch, channels).softmax(dim=1)
    return torch.einsum("bc,bchw->bhw", weights, activations)
