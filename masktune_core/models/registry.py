"""From an architecture's name to a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from weakref import WeakSet

from torch import nn

from masktune_core.architectures import TIMM_PREFIX, check_architecture, pretrained_weights
from masktune_core.errors import ArchitectureError
from masktune_core.models.resnet_cifar import ResNetCifar
from masktune_core.models.small_cnn import SmallCNN
from masktune_core.models.timm_models import build_timm
from masktune_core.models.vgg_cifar import Vgg16BnCifar

_OWN: Final[dict[str, Callable[[int], nn.Module]]] = {
    "small_cnn": SmallCNN,
    "resnet32_cifar": ResNetCifar,
    "vgg16_bn_cifar": Vgg16BnCifar,
}

_MADE: Final[WeakSet[nn.Module]] = WeakSet()


def made_by_name(model: nn.Module) -> bool:
    """Whether `build_model` made this very module, so that its forward pass is one that we know."""
    return model in _MADE


def build_model(architecture: str, num_classes: int, pretrained: bool = False) -> nn.Module:
    """Make a network for RGB images, on the CPU, in training mode, its weights drawn from torch's global generator.

    `architecture`: `small_cnn`, `resnet32_cifar`, `vgg16_bn_cifar`, `resnet18`, `resnet34`, `resnet50`, `resnet101`,
    or `timm/<name>`. `pretrained` starts from the weights that `pretrained_weights` names, with a fresh classifier for
    `num_classes` classes; the weight hub (or its local cache) must be reachable.

    The result maps images (B, 3, S, S) float32 to logits (B, num_classes).
    Raises `ArchitectureError` for an unknown name, weights that do not exist or cannot be fetched, or no class.
    """
    if num_classes < 1:
        raise ArchitectureError(f"{architecture} needs at least one class, got {num_classes}")
    try:
        check_architecture(architecture, pretrained=pretrained)
    except ValueError as error:
        raise ArchitectureError(str(error)) from error
    model = _build(architecture, num_classes, pretrained)
    _MADE.add(model)
    return model


def _build(architecture: str, num_classes: int, pretrained: bool) -> nn.Module:
    if architecture in _OWN:
        return _OWN[architecture](num_classes)
    if pretrained:
        return build_timm(pretrained_weights(architecture), num_classes, pretrained=True)
    return build_timm(architecture.removeprefix(TIMM_PREFIX), num_classes, pretrained=False)
