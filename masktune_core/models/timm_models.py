"""Networks from timm, and where each is explained.

timm is imported where it is used: it takes as long to load as torch, and the small networks do without.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from masktune_core.errors import ArchitectureError


def build_timm(name: str, num_classes: int, *, pretrained: bool) -> nn.Module:
    """timm's model `name` (or `name.tag`) for RGB images, with a fresh classifier for `num_classes`.

    Raises `ArchitectureError` if the installed timm lacks the model, or if its weights cannot be fetched.
    """
    import timm

    if not pretrained:
        try:
            model: nn.Module = timm.create_model(name, num_classes=num_classes)
        except RuntimeError as error:
            raise ArchitectureError(f"timm {timm.__version__} cannot build {name}: {error}") from error
        return model
    try:
        model = timm.create_model(name, num_classes=num_classes, pretrained=True)
    except Exception as error:  # the hub's client raises its own, httpx's and the operating system's errors
        raise ArchitectureError(
            f"the pretrained weights {name} cannot be fetched ({type(error).__name__}): set pretrained to false, "
            "start from an uploaded checkpoint, or let the worker reach huggingface.co (or fill its cache, HF_HOME)"
        ) from error
    return model


def timm_cam_layer_name(model: nn.Module) -> str | None:
    """Dotted name of the layer that a timm model is explained at; None if this is no timm model.

    Convolutional and hierarchical models: the last stage of features. Token models (ViT, DeiT, Mixer …): the first norm
    of the last block, the last place from which every patch still reaches a class token.
    """
    stages = getattr(model, "feature_info", None)
    if not isinstance(stages, list) or not stages or "module" not in stages[-1]:
        return None
    from timm.models.hrnet import HighResolutionNet
    from timm.models.twins import Twins

    if isinstance(model, HighResolutionNet):
        return "final_layer"  # its stages hand on several resolutions at once
    blocks: Any = getattr(model, "blocks", None)
    if isinstance(model, Twins):
        return f"blocks.{len(blocks) - 1}.{len(blocks[-1]) - 1}"  # its feature_info names modules that it lacks
    if isinstance(blocks, nn.Sequential | nn.ModuleList) and hasattr(blocks[-1], "norm1"):
        return f"blocks.{len(blocks) - 1}.norm1"
    return str(stages[-1]["module"])
