"""Which architectures exist, without importing torch: so that a wrong name is refused before anything is queued."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Final

ARCHITECTURES: Final[tuple[str, ...]] = (
    "small_cnn",
    "resnet32_cifar",
    "vgg16_bn_cifar",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
)
RESNET_TAG: Final = "tv_in1k"
"""torchvision's first ImageNet weights (IMAGENET1K_V1), which the paper starts from; timm's own choice are others."""
WITHOUT_PRETRAINED: Final[tuple[str, ...]] = ("small_cnn", "resnet32_cifar", "vgg16_bn_cifar")
TIMM_PREFIX: Final = "timm/"


@cache
def timm_names() -> Mapping[str, tuple[str, ...]]:
    """timm's model names, each with the tags of its pretrained weights, timm's own choice first (empty: it has none).

    Read from `masktune_core/models/timm_names.txt`, which `python -m masktune_core.models.timm_names` writes.
    """
    text = resources.files("masktune_core").joinpath("models", "timm_names.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {name: tuple(tags) for name, *tags in rows}


def check_architecture(architecture: str, *, pretrained: bool = False) -> None:
    """Refuse a name that `masktune_core.models.build_model` does not know, or weights that do not exist.

    `architecture` is one of `ARCHITECTURES`, or `timm/<name>`, or `timm/<name>.<tag>` where the tag picks one of
    several pretrained weights. Raises `ValueError`, which suggests the nearest names.
    """
    if architecture in ARCHITECTURES:
        if pretrained and architecture in WITHOUT_PRETRAINED:
            raise ValueError(f"{architecture} has no pretrained weights: set pretrained to false")
        return
    if not architecture.startswith(TIMM_PREFIX):
        raise ValueError(
            f"unknown architecture {architecture!r}: use one of {', '.join(ARCHITECTURES)}, or timm/<name>"
            + _suggestion(architecture, [*ARCHITECTURES, *(TIMM_PREFIX + name for name in timm_names())])
        )
    name, _, tag = architecture.removeprefix(TIMM_PREFIX).partition(".")
    tags = timm_names().get(name)
    if tags is None:
        raise ValueError(f"timm has no usable model named {name!r}" + _suggestion(name, timm_names(), TIMM_PREFIX))
    if tag and tag not in tags:
        raise ValueError(
            f"timm/{name} has no weights tagged {tag!r}: "
            + (f"use one of {', '.join(tags)}, or no tag" if tags else "leave the tag out")
        )
    if pretrained and not tags:
        raise ValueError(f"timm/{name} has no pretrained weights: set pretrained to false")


def pretrained_weights(architecture: str) -> str:
    """timm's full name, `<name>.<tag>`, of the weights that an architecture with pretrained weights starts from.

    `resnet18` to `resnet101` start from torchvision's, `timm/<name>` from those of its tag, or else of timm's choice.
    Raises `ValueError` for an architecture that has none, and for what `check_architecture` refuses.

    >>> pretrained_weights("resnet50"), pretrained_weights("timm/resnet50")
    ('resnet50.tv_in1k', 'resnet50.a1_in1k')
    """
    check_architecture(architecture, pretrained=True)
    if architecture in ARCHITECTURES:
        return f"{architecture}.{RESNET_TAG}"
    name, _, tag = architecture.removeprefix(TIMM_PREFIX).partition(".")
    return f"{name}.{tag or timm_names()[name][0]}"


def _suggestion(name: str, known: Mapping[str, object] | list[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(prefix + match for match in close)}?)" if close else ""
