"""What a model says about images, as probabilities of the classes."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from masktune_core.errors import ArchitectureError
from masktune_core.models import cam_layer
from masktune_core.saliency.folding import folded
from masktune_core.saliency.in_parts import in_parts

Floats = npt.NDArray[np.float64]


def probabilities(logits: Tensor) -> Floats:
    """Softmax of (B, K) logits in float64, where confident predictions still differ from one another."""
    values: Floats = logits.detach().to("cpu", torch.float64).softmax(dim=1).numpy()
    return values


def class_probabilities(model: nn.Module, images: Tensor) -> Floats:
    """(B, K) float64 probabilities of images (B, 3, S, S), to the bit those of the logits that `explain` returns.

    `model` has to be in evaluation mode. Where `explain` is told another CAM layer, and that is a convolution with a
    batch normalisation after it, the two agree within rounding only. On a CPU the images go through the model in parts,
    which a normalisation without running statistics would see.
    """
    with torch.no_grad():
        if images.device.type != "cpu" or not len(images):
            return probabilities(model(images))
        network, _ = folded(model, _explained(model), images[:1])
        return probabilities(torch.cat(in_parts(lambda part, _: cast("Tensor", network(part)), images)))


def _explained(model: nn.Module) -> nn.Module:
    try:
        return cam_layer(model)
    except ArchitectureError:  # it cannot be explained, but it can classify
        return model
