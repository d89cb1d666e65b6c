"""Write what checks need to know of every network without torch: `python -m masktune_core.models.networks`.

Which input sizes a network takes, from which size on its map has more than one cell, and where it can be explained. For
the tested networks this is known layer by layer; for the others of timm at their own CAM layer only, from some sizes.
All this runs on torch's meta device: shapes without numbers, so no weights. It takes half an hour for all of timm.
`masktune_core.networks` reads the file, and says what its lines mean.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from masktune_core.architectures import ARCHITECTURES, TIMM_PREFIX, timm_names
from masktune_core.errors import ArchitectureError, MaskTuneError
from masktune_core.models.feature_grid import feature_grid
from masktune_core.models.layers import cam_layer
from masktune_core.models.registry import build_model
from masktune_core.networks import SMALLEST

PATH: Final = Path(__file__).with_suffix(".txt")
TESTED: Final = (
    *ARCHITECTURES,
    "timm/convnext_femto",
    "timm/densenet121",
    "timm/efficientnet_b0",
    "timm/mobilenetv3_small_100",
    "timm/regnety_002",
    "timm/vgg11_bn",
    "timm/swin_tiny_patch4_window7_224",
    "timm/vit_tiny_patch16_224",
    "timm/deit_tiny_distilled_patch16_224",
    "timm/vit_little_patch16_reg4_gap_256",
    "timm/mixer_s32_224",
)
"""Those of docs/architectures.md, known layer by layer."""
_OWN_SIZE: Final = {"small_cnn": 28, "resnet32_cifar": 32, "vgg16_bn_cifar": 32}
_UNFIT: Final = (
    MaskTuneError,
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)
log = logging.getLogger(__name__)


def build(architecture: str) -> nn.Module:
    """The network, shapes only."""
    with torch.device("meta"):
        return build_model(architecture, 2).eval()


def own_size(architecture: str, model: Any) -> int:
    """The input that a network is made for, px."""
    return _OWN_SIZE.get(architecture) or int(max(model.default_cfg["input_size"][1:]))


def cells(model: nn.Module, size: int, layers: Mapping[str, nn.Module]) -> dict[str, int] | None:
    """How many cells each of `layers` has for an input of `size` px; None if the model does not take that size."""
    try:
        with torch.no_grad():
            _, features = _run(model, size, layers)
    except _UNFIT:
        return None
    found = {}
    for name, value in features.items():
        try:
            height, width = feature_grid(value, model).shape[2:]
        except ArchitectureError:
            continue
        found[name] = height * width
    return found


def explainable(model: nn.Module, size: int) -> dict[str, nn.Module]:
    """The modules that a map can be drawn on at an input of `size` px, by name: `cam_grid` takes these and no others.

    They put out a grid, and the logits depend on it.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    with torch.enable_grad():
        logits, features = _run(model, size, modules)
        names = [name for name in cells(model, size, modules) or {} if features[name].requires_grad]
        gradients = torch.autograd.grad(logits.sum(), [features[name] for name in names], allow_unused=True)
    return {name: modules[name] for name, gradient in zip(names, gradients, strict=True) if gradient is not None}


def _run(model: nn.Module, size: int, layers: Mapping[str, nn.Module]) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of one image, and what each layer put out last, for those that put out a tensor."""
    features: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_layer: nn.Module, _inputs: object, output: object) -> None:
            features.pop(name, None)
            if isinstance(output, Tensor) and output.is_floating_point():
                features[name] = output

        return keep

    handles = [layer.register_forward_hook(keeper(name)) for name, layer in layers.items()]
    try:
        return model(torch.zeros(1, 3, size, size, device="meta")), features
    finally:
        for handle in handles:
            handle.remove()


def tested_lines(architecture: str) -> list[str]:
    """All that is known of a network that is tested."""
    model = build(architecture)
    own = own_size(architecture, model)
    layers = explainable(model, own)
    tried = [*range(SMALLEST, 80), *range(80, own, 13), *range(own, own + 34)]
    taken = [size for size in tried if cells(model, size, {}) is not None]
    if set(taken) == {own}:
        sizes = f"{own}"
        counts = cells(model, own, layers) or {}
        least = {name: own for name, count in counts.items() if count > 1}
    elif taken == [size for size in tried if size >= taken[0]]:
        sizes, least = f"{taken[0]}-", _least_sizes(model, taken, layers)
    else:
        raise SystemExit(f"{architecture} takes input sizes that no rule describes: {taken}")
    name = name_of(model, cam_layer(model))
    lines = [_line(architecture, sizes, own, f"{least[name]}", model, name)]
    lines += [
        "\t".join(["", str(size), *(layer for layer in layers if least.get(layer) == size)])
        for size in sorted(set(least.values()))
    ]
    return lines


def _least_sizes(model: nn.Module, sizes: list[int], layers: dict[str, nn.Module]) -> dict[str, int]:
    least: dict[str, int] = {}
    for size in sizes:
        for name, count in (cells(model, size, layers) or {}).items():
            if count > 1:
                least.setdefault(name, size)
        if len(least) == len(layers):
            break
    return least


def other_line(architecture: str) -> str:
    """What is known of a network of timm that is not tested.

    Whether it takes other sizes than its own is tried with a few. If it takes them all, its CAM layer has one cell up
    to the stride and more beyond: that, too, is tried, and is not known where it does not hold.
    """
    model = build(architecture)
    own = own_size(architecture, model)
    layer = cam_layer(model)
    name = name_of(model, layer)

    def count(size: int) -> int:
        return (cells(model, size, {name: layer}) or {}).get(name, 0)

    near, multiples = (own - 31, own + 1, own + 32), (own // 2, own - 32, own - 28, own + 28, own * 2)
    regular = all(count(size) for size in near)
    if not regular and not any(count(size) for size in (*near, *multiples)):
        return _line(architecture, f"{own}", own, f"{own}", model, name)
    if not regular:
        return _line(architecture, "?", own, "?", model, name)
    low, high = SMALLEST - 1, own
    stride = round(own / count(own) ** 0.5)
    for guess in (stride, 2 * stride - 1):  # where sizes are rounded up, and down
        if SMALLEST <= guess < own and count(guess) <= 1 < count(guess + 1):
            low, high = guess, guess + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) > 1 else (middle, high)
    if not all(count(size) > 1 for size in (high + 1, high + 7, (high + own) // 2) if size < own):
        return _line(architecture, "?", own, "?", model, name)
    return _line(architecture, "?", own, f"{high}", model, name)


def name_of(model: nn.Module, layer: nn.Module) -> str:
    """The dotted name of a module."""
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    return names[layer]


def _line(architecture: str, sizes: str, own: int, least: str, model: nn.Module, layer: str) -> str:
    norm = "batch" if any(isinstance(module, _BatchNorm) for module in model.modules()) else "-"
    parts = ",".join(name for name, _ in model.named_children())
    return "\t".join([architecture, sizes, str(own), least, norm, layer, parts])


def main() -> None:
    """Look at every network, and write the file beside this one; with names as arguments, print their lines."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.simplefilter("ignore")
    if sys.argv[1:]:
        for name in sys.argv[1:]:
            log.info("\n".join(tested_lines(name) if name in TESTED else [other_line(name)]))
        return
    lines = [f"# timm {timm.__version__}. Written by python -m masktune_core.models.networks"]
    for name in TESTED:
        lines += tested_lines(name)
    others = [TIMM_PREFIX + name for name in timm_names()]
    for count, name in enumerate(others, 1):
        if name not in TESTED:
            lines.append(other_line(name))
        if count % 50 == 0:
            log.info("%d of %d", count, len(others))
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
