"""Maps and masks equal those of the PyPI package grad-cam, in every architecture of `tested_architectures.py`."""

from __future__ import annotations

import warnings
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masktune_core.masking import keep_mask, upsample_cams
from masktune_core.models import build_model, cam_layer
from masktune_core.saliency import compute_cams
from tests.masktune_core.tested_architectures import TESTED

with warnings.catch_warnings():  # its own dependencies warn on import
    warnings.simplefilter("ignore")
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

THEIRS = {
    "xgradcam": "XGradCAM",
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "scorecam": "ScoreCAM",
}


@cache
def network(architecture: str) -> nn.Module:
    """Random weights and, so that layers differ as after training, random batch-norm statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(architecture, 4)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]  # tracked, so there is one
                nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            if isinstance(module, nn.Linear) and not module.weight.any():
                nn.init.normal_(module.weight, std=0.02)  # a head that starts at zero explains nothing
    return model.eval()


@cache
def pictures(size: int, count: int) -> Tensor:
    """Smooth random images, as photographs are, and so that maps have structure."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    fine = torch.rand(count, 3, size, size, generator=generator)
    return nn.functional.interpolate(coarse, size=size, mode="bicubic") + 0.2 * fine


def pictures_for(architecture: str) -> Tensor:
    tested = TESTED[architecture]
    return pictures(tested.compared, tested.pictures)


def their_maps(architecture: str, method: str, images: Tensor) -> NDArray[np.float32]:
    model = network(architecture)
    kind: Any = getattr(pytorch_grad_cam, THEIRS[method])
    with kind(
        model=model, target_layers=[cam_layer(model)], reshape_transform=TESTED[architecture].reshape
    ) as explainer:
        maps: NDArray[np.float32] = explainer(images, None)
    return maps


def reference_keep_mask(scaled: NDArray[np.float32], k: float = 2.0) -> NDArray[np.bool_]:
    """The rule in NumPy, image by image."""
    keep = np.ones(scaled.shape, dtype=bool)
    for image, mask in zip(scaled.astype(np.float64), keep, strict=True):
        positive = image[image > 0]
        if positive.size:
            mask[image > positive.mean() + k * positive.std()] = False
    return keep


@pytest.mark.parametrize("architecture", TESTED)
def test_xgradcam_maps_and_masks_equal_grad_cams(architecture: str) -> None:
    images = pictures_for(architecture)
    size = images.shape[-1]
    cams = compute_cams(network(architecture), images)
    ours, theirs = upsample_cams(cams, size).numpy(), their_maps(architecture, "xgradcam", images)
    assert (ours.max(axis=(1, 2)) == 1).any(), "a test on empty maps would show nothing"
    assert np.abs(ours - theirs).max() <= 1e-4
    assert (keep_mask(cams, size).numpy() == reference_keep_mask(theirs)).mean() >= 0.999


@pytest.mark.parametrize("architecture", ["small_cnn", "resnet18", "resnet50", "timm/vit_tiny_patch16_224"])
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam"])
def test_the_other_gradient_methods_equal_grad_cams(architecture: str, method: str) -> None:
    images = pictures_for(architecture)
    ours = upsample_cams(compute_cams(network(architecture), images, method=method), images.shape[-1]).numpy()
    assert np.abs(ours - their_maps(architecture, method, images)).max() <= 1e-4


@pytest.mark.parametrize("architecture", ["small_cnn", "resnet18", "timm/vit_tiny_patch16_224"])
def test_eigencam_equals_grad_cams_up_to_its_arbitrary_sign(architecture: str) -> None:
    model, images = network(architecture), pictures_for(architecture)
    kept: list[Tensor] = []
    handle = cam_layer(model).register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    with torch.no_grad():
        model(images)
    handle.remove()
    reshape = TESTED[architecture].reshape
    features = reshape(kept[0]) if reshape else kept[0]
    theirs = get_2d_projection(features.numpy().astype(np.float64))
    for ours, projection in zip(compute_cams(model, images, method="eigencam").numpy(), theirs, strict=True):
        turned = -projection if -projection.min() > projection.max() else projection
        np.testing.assert_allclose(ours, turned.clip(min=0), atol=2e-3 * turned.max())


def test_scorecam_equals_grad_cams_when_that_samples_at_pixel_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    """grad-cam stretches activations from corner to corner over the input: elsewhere than it draws its maps."""
    centred = partial(nn.Upsample, mode="bilinear", align_corners=False)
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", lambda size: centred(size=size))
    images = pictures(28, 16)[:3]
    ours = upsample_cams(compute_cams(network("small_cnn"), images, method="scorecam"), 28).numpy()
    assert np.abs(ours - their_maps("small_cnn", "scorecam", images)).max() <= 1e-4


def test_scorecam_equals_its_definition() -> None:
    model, images = network("small_cnn"), pictures(28, 16)[:3]
    layer_output: list[Tensor] = []
    handle = cam_layer(model).register_forward_hook(lambda _layer, _inputs, output: layer_output.append(output))
    with torch.no_grad():
        targets = model(images).argmax(dim=1)
        handle.remove()
        for image, activation, target, ours in zip(
            images, layer_output[0], targets, compute_cams(model, images, method="scorecam"), strict=True
        ):
            scores = []
            for channel in activation:
                veil = nn.functional.interpolate(channel[None, None], size=28, mode="bilinear")[0, 0]
                veil = (veil - veil.min()) / (veil.max() - veil.min() + 1e-8)
                scores.append(model((image * veil)[None])[0, target])
            weights = torch.stack(scores).softmax(dim=0)
            torch.testing.assert_close(
                ours, (weights[:, None, None] * activation).sum(dim=0).relu(), rtol=1e-4, atol=1e-6
            )


def test_a_chosen_class_is_explained_as_grad_cam_explains_it() -> None:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, images = network("resnet18"), pictures(96, 4)
    target = torch.tensor([3, 0, 1, 2])
    with pytorch_grad_cam.XGradCAM(model=model, target_layers=[cam_layer(model)]) as explainer:
        theirs = explainer(images, [ClassifierOutputTarget(int(each)) for each in target])
    ours = upsample_cams(compute_cams(model, images, target=target), 96).numpy()
    assert np.abs(ours - theirs).max() <= 1e-4
