"""Which layer of a network is explained: the CAM layer."""

from __future__ import annotations

import difflib

from torch import nn

from masktune_core.errors import ArchitectureError
from masktune_core.models.timm_models import timm_cam_layer_name

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_NORMS_AND_ACTIVATIONS = (
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Mish,
)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def cam_layer(model: nn.Module, name: str | None = None) -> nn.Module:
    """The module of `model` whose output (B, C, h, w), or tokens (B, N, C), is explained.

    By default the last convolutional block: `layer4[-1]` of a ResNet, the last ReLU before the last pool of SmallCNN
    and VGG, the first norm of the last block of a ViT. `name` is the dotted name of another module.
    Raises `ArchitectureError` if there is no such module; the message suggests near ones.
    """
    if name is not None:
        return _named(model, name)
    own = getattr(model, "cam_layer_name", None) or timm_cam_layer_name(model)
    return _last_block(model, own) if own else _last_convolution(model)


def _named(model: nn.Module, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if name and name in modules:
        return modules[name]
    close = difflib.get_close_matches(name, [known for known in modules if known], n=3)
    children = ", ".join(child for child, _ in model.named_children())
    raise ArchitectureError(
        f"{type(model).__name__} has no module named {name!r} to explain: "
        + (f"did you mean {' or '.join(close)}?" if close else f"its parts are {children}")
    )


def _last_block(model: nn.Module, name: str) -> nn.Module:
    """The last block of a stage: `layer4[-1]` for `layer4`; and for a pool that ends a stage, what stands before it."""
    stage = _named(model, name)
    while type(stage) is nn.Sequential and len(stage):
        stage = list(stage)[-1]
    if isinstance(stage, _POOLS):
        siblings = list(model.get_submodule(name.rpartition(".")[0]).children())
        stage = siblings[max(siblings.index(stage) - 1, 0)]
    return stage


def _last_convolution(model: nn.Module) -> nn.Module:
    """For a network that is neither ours nor timm's: the block around its last convolution.

    In a plain sequence that is the norm or activation that directly follows it; otherwise the block that owns it.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, _CONVOLUTIONS)]
    if not names:
        raise ArchitectureError(
            f"{type(model).__name__} has no convolution to explain: name a layer in model.cam_layer"
        )
    parent_name, _, own_name = names[-1].rpartition(".")
    parent = model.get_submodule(parent_name)
    if parent is not model and type(parent) is not nn.Sequential:
        return parent
    layer = parent.get_submodule(own_name)
    siblings = list(parent.children())
    for following in siblings[siblings.index(layer) + 1 :]:
        if not isinstance(following, _NORMS_AND_ACTIVATIONS):
            break
        layer = following
    return layer
