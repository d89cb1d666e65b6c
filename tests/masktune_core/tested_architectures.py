"""The architectures whose maps are compared with grad-cam's, and the page about them.

`python -m tests.masktune_core.tested_architectures > docs/architectures.md`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from masktune_core.architectures import ARCHITECTURES, pretrained_weights
from masktune_core.models import build_model, cam_layer
from masktune_core.networks import network
from masktune_core.saliency import cam_grid


class Tested(NamedTuple):
    """`size`: the input that an architecture is made for, px. The comparison has `pictures` images of `compared` px.

    `tokens`: how many class and register tokens stand before the patches; None where features are maps.
    `channels_last`: features are maps (B, h, w, C).
    """

    size: int
    compared: int
    pictures: int
    tokens: int | None = None
    channels_last: bool = False

    @property
    def reshape(self) -> Callable[[Tensor], Tensor] | None:
        """What grad-cam must be told to do with the features, written apart from our own code."""
        if self.channels_last:
            return _to_front
        return None if self.tokens is None else partial(_grid_of_tokens, prefix=self.tokens)


TESTED = {
    "small_cnn": Tested(28, 28, 16),
    "resnet32_cifar": Tested(32, 32, 4),
    "vgg16_bn_cifar": Tested(32, 64, 4),
    "resnet18": Tested(224, 96, 4),
    "resnet34": Tested(224, 96, 2),
    "resnet50": Tested(224, 96, 4),
    "resnet101": Tested(224, 96, 2),
    "timm/convnext_femto": Tested(224, 96, 2),
    "timm/densenet121": Tested(224, 96, 2),
    "timm/efficientnet_b0": Tested(224, 96, 2),
    "timm/mobilenetv3_small_100": Tested(224, 96, 2),
    "timm/regnety_002": Tested(224, 96, 2),
    "timm/vgg11_bn": Tested(224, 64, 2),
    "timm/swin_tiny_patch4_window7_224": Tested(224, 224, 2, channels_last=True),
    "timm/vit_tiny_patch16_224": Tested(224, 224, 3, tokens=1),
    "timm/deit_tiny_distilled_patch16_224": Tested(224, 224, 2, tokens=2),
    "timm/vit_little_patch16_reg4_gap_256": Tested(256, 256, 2, tokens=4),
    "timm/mixer_s32_224": Tested(224, 224, 2, tokens=0),
}

_PAGE = """\
# Tested architectures

`model.architecture` is one of {own}, or `timm/<name>` for any of the models of the installed timm that are listed in
`masktune_core/models/timm_names.txt`: of each of these, the network is known to build, its CAM layer to be found, and
an image of its own size to give a grid of more than one cell. The ones below are tested further.

For each, the XGrad-CAM maps at input size equal those of the PyPI package grad-cam to 1e-4 on a scale of 0 to 1, and of
the masks at least 999 of 1,000 pixels; the reference is computed with a full backward pass. That is the test
`test_xgradcam_maps_and_masks_equal_grad_cams` in `tests/masktune_core/test_saliency_parity.py`, with random weights and
the number of pixels in the last column. Layers and grids are also written down, and checked, in
`tests/masktune_core/test_models.py`.

| architecture | input, px | CAM layer | grid | features | maps equal grad-cam's |
| --- | --- | --- | --- | --- | --- |
{rows}

Another layer can be named in `model.cam_layer`, and another input size in `input.size`; the grid follows from both:

| architecture | takes inputs of | more than one cell | pretrained weights |
| --- | --- | --- | --- |
{sizes}

A preset sets a size that fits. Without one, `input.size` is 28 px, which is SmallCNN's, and too small for most others.

**What is checked before a job is queued**, by the submission as by its dry run (`POST /v1/jobs?dry_run=true`) and by
the form: for the architectures above, every name of a layer, whether the network takes the input size, whether the
layer's grid has more than one cell at that size, and whether batch normalisation would meet a batch of one image. That
is written in `masktune_core/models/networks.txt`, made by `python -m masktune_core.models.networks` and held against
timm by `tests/masktune_core/test_networks.py`. For the other models of timm, the same file knows their own size and
whether they take others, for most the least size at which their own CAM layer has a grid, their normalisation, and the
names of their parts, so a layer is checked up to the first dot of its name.

**What shows only when the job runs**, and is listed under `unchecked` in the answer to a dry run: layers of the other
models of timm beyond that dot, and some of their input sizes; whether a worker reaches the weight hub, has a GPU, can
compile the network, and has the memory for a batch. All but the last two show before anything is trained.

**Pretrained weights** of `resnet18` to `resnet101` are torchvision's first ones (IMAGENET1K_V1), which the paper starts
from; the presets `waterbirds` and `celeba` start from `{paper}`. timm's own choice
for these names is another: `timm/resnet50` starts from `{timm}`, and `timm/<name>.<tag>` names any.
`pretrained_weights` in a job's manifest says what it started from.

This page is made by `python -m tests.masktune_core.tested_architectures > docs/architectures.md`; a test compares them.
"""


def page() -> str:
    """The content of `docs/architectures.md`. Layers and grids come from the models, on torch's meta device."""
    return _PAGE.format(
        own=", ".join(f"`{name}`" for name in ARCHITECTURES),
        rows="\n".join(_row(name, tested) for name, tested in TESTED.items()),
        sizes="\n".join(map(_sizes, TESTED)),
        paper=pretrained_weights("resnet50"),
        timm=pretrained_weights("timm/resnet50"),
    )


def _row(architecture: str, tested: Tested) -> str:
    with torch.device("meta"):
        model = build_model(architecture, 2)
        layer = cam_layer(model)
        height, width = cam_grid(model, tested.size)
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    features = "maps"
    if tested.channels_last:
        features = "maps, channels last"
    elif tested.tokens is not None:
        features = f"tokens, {tested.tokens} before the patches"
    cells = (f"`{architecture}`", tested.size, f"`{names[layer]}`", f"{height} × {width}", features)
    return f"| {' | '.join(map(str, cells))} | yes, at {tested.compared} px |"


def _sizes(architecture: str) -> str:
    known = network(architecture)
    assert known is not None
    takes = f"{known.own} px only" if known.fixed else f"{known.smallest} px or more"
    grid = "yes" if known.fixed else f"from {known.least} px"
    try:
        weights = f"`{pretrained_weights(architecture)}`"
    except ValueError:
        weights = "none"
    return f"| `{architecture}` | {takes} | {grid} | {weights} |"


def _to_front(features: Tensor) -> Tensor:
    return features.permute(0, 3, 1, 2)


def _grid_of_tokens(tokens: Tensor, prefix: int) -> Tensor:
    side = round((tokens.shape[1] - prefix) ** 0.5)
    return tokens[:, prefix:].reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)


if __name__ == "__main__":
    sys.stdout.write(page())
