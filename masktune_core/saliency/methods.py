"""The saliency methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from masktune_core.saliency.gradcam import gradcam
from masktune_core.saliency.gradcam_plus_plus import gradcam_plus_plus
from masktune_core.saliency.layercam import layercam
from masktune_core.saliency.xgradcam import xgradcam

GRADIENT_METHODS: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "xgradcam": xgradcam,
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
}
"""Maps from activations and gradients, both (B, C, h, w)."""

METHODS: Final[tuple[str, ...]] = (*GRADIENT_METHODS, "eigencam", "scorecam")
