"""Explaining leaves the model as it was, costs only the head's backward pass, and fails clearly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from masktune_core.errors import ArchitectureError, ConfigError
from masktune_core.models import build_model, cam_layer
from masktune_core.saliency import METHODS, compute_cams, explain
from masktune_core.saliency.xgradcam import xgradcam


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules())


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_model("small_cnn", 3)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_rectified_float32_on_the_cam_grid(model: nn.Module, images: Tensor, method: str) -> None:
    cams = compute_cams(model, images[:2], method=method)
    assert cams.shape == (2, 8, 8)
    assert cams.dtype == torch.float32
    assert not cams.requires_grad
    assert (cams >= 0).all()
    assert cams.max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_was(model: nn.Module, images: Tensor, method: str) -> None:
    model.train()
    model.get_submodule("backbone.1").eval()  # a frozen norm inside a training model stays frozen
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    compute_cams(model, images[:2], method=method)
    assert hooks(model) == 0
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


class Failing(nn.Module):
    def forward(self, _: Tensor) -> Tensor:
        raise RuntimeError("out of memory, say")


def test_hooks_modes_and_grad_mode_are_restored_when_the_model_fails(model: nn.Module, images: Tensor) -> None:
    linear = model.get_submodule("linear")
    assert isinstance(linear, nn.Sequential)
    linear[0] = Failing()
    model.train()
    with pytest.raises(RuntimeError, match="out of memory"):
        compute_cams(model, images)
    assert hooks(model) == 0
    assert all(module.training for module in model.modules())
    assert torch.is_grad_enabled()


def full_graph_map(model: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """XGrad-CAM with an ordinary backward pass through the whole network."""
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()  # so that an in-place operation after the layer does not change what is kept

    handle = layer.register_forward_hook(keep)
    logits = model.eval()(images)
    handle.remove()
    logits.amax(dim=1).sum().backward()
    gradient = kept[0].grad
    assert gradient is not None
    return xgradcam(kept[0].detach(), gradient).relu()


@pytest.mark.parametrize("name", ["backbone.2", "backbone.5", "backbone.7", "backbone.12"])
def test_cutting_the_graph_does_not_change_the_map_at_any_layer(model: nn.Module, images: Tensor, name: str) -> None:
    layer = model.get_submodule(name)
    cams = explain(model, images, layer=layer).cams
    torch.testing.assert_close(cams, full_graph_map(model, layer, images), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["layer4.1.bn2", "layer4.0.bn1", "layer3.1", "bn1"])
def test_layers_followed_by_an_in_place_operation_are_explained(name: str) -> None:
    torch.manual_seed(0)
    model = build_model("resnet18", 3)
    layer = cam_layer(model, name)
    images = torch.rand(2, 3, 64, 64)
    expected = full_graph_map(model, layer, images)
    for _ in range(2):  # the second time it is known beforehand
        cams = explain(model, images, layer=layer).cams
        torch.testing.assert_close(cams, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))


def test_no_graph_is_kept_below_the_cam_layer(model: nn.Module, images: Tensor) -> None:
    graphs: list[bool] = []
    for name in ("backbone.0", "backbone.9", "linear.3"):
        model.get_submodule(name).register_forward_hook(lambda _m, _i, output: graphs.append(output.requires_grad))
    compute_cams(model, images)
    assert graphs == [False, False, True]


def test_logits_are_those_of_evaluation_mode(model: nn.Module, images: Tensor) -> None:
    explanation = explain(model.train(), images)
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(explanation.logits, model(images), rtol=1e-4, atol=1e-5)
    assert not explanation.logits.requires_grad


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(
    model: nn.Module, images: Tensor, context: Callable[[], torch.no_grad]
) -> None:
    expected = compute_cams(model, images)
    with context():
        assert torch.equal(compute_cams(model, images.clone()), expected)


@pytest.mark.parametrize("method", METHODS)
def test_under_autocast_maps_are_float32_and_near_those_of_full_precision(
    model: nn.Module, images: Tensor, method: str
) -> None:
    expected = compute_cams(model, images, method=method)
    with torch.autocast("cpu", torch.bfloat16):
        found = compute_cams(model, images, method=method)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().mean()) <= 0.05 * float(expected.max())


def test_it_works_with_frozen_parameters(model: nn.Module, images: Tensor) -> None:
    expected = compute_cams(model, images)
    model.requires_grad_(requires_grad=False)
    assert torch.equal(compute_cams(model, images), expected)


def test_an_image_is_explained_alike_alone_and_in_a_batch(model: nn.Module, images: Tensor) -> None:
    together = compute_cams(model, images)
    alone = torch.cat([compute_cams(model, image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-6)


def test_the_predicted_class_is_the_default_target(model: nn.Module, images: Tensor) -> None:
    explanation = explain(model, images)
    predicted = explanation.logits.argmax(dim=1)
    assert torch.equal(compute_cams(model, images, target=predicted), explanation.cams)
    assert not torch.equal(compute_cams(model, images, target=(predicted + 1) % 3), explanation.cams)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_batch_has_no_maps(model: nn.Module, images: Tensor, method: str) -> None:
    assert compute_cams(model, images[:0], method=method).shape == (0, 8, 8)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0]), "a class for each of 6"),
        (torch.full((6,), 3), "lie in 0…2"),
        (torch.full((6,), -1), "got -1"),
    ],
)
def test_a_target_that_is_no_class_is_refused(model: nn.Module, images: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compute_cams(model, images, target=target)


def test_an_unknown_method_is_refused_with_the_known(model: nn.Module, images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"smoothgrad.*xgradcam, gradcam, gradcam\+\+"):
        compute_cams(model, images, method="smoothgrad")


class Disconnected(nn.Module):
    """Its second convolution runs, but decides nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 2, 3), nn.Conv2d(3, 2, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.unused(images)
        logits: Tensor = self.used(images).mean(dim=(2, 3))
        return logits


def test_a_layer_that_cannot_be_explained_is_refused(model: nn.Module, images: Tensor) -> None:
    with pytest.raises(ArchitectureError, match="do not depend on the CAM layer"):
        compute_cams(Disconnected(), images)
    with pytest.raises(ArchitectureError, match="does not run"):
        explain(model, images, layer=nn.Conv2d(3, 3, 3))
    with pytest.raises(ArchitectureError, match="no grid to explain"):
        explain(model, images, layer=model.get_submodule("linear.0"))


def test_xgradcam_matches_a_map_computed_by_hand() -> None:
    activations = torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]])  # (1, 2, 1, 2)
    gradients = torch.tensor([[[[0.5, 0.1]], [[-1.0, 0.0]]]])
    # weights: (0.5·1 + 0.1·3) / 4 = 0.2 and (−1·2 + 0) / 4 = −0.5
    torch.testing.assert_close(xgradcam(activations, gradients), torch.tensor([[[-0.8, -0.4]]]))


def test_a_large_batch_is_explained_in_parts_with_the_same_result(model: nn.Module) -> None:
    images = torch.rand(300, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    target = torch.arange(300) % 3
    cams = compute_cams(model, images, target=target)
    for start in (0, 120, 290):
        part = compute_cams(model, images[start : start + 10], target=target[start : start + 10])
        torch.testing.assert_close(cams[start : start + 10], part, rtol=1e-3, atol=1e-6)
