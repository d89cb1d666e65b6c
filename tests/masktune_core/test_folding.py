"""A folded network computes what its model computes, also after the model has changed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from masktune_core.models import build_model, cam_layer
from masktune_core.saliency import explain
from masktune_core.saliency.folding import folded
from masktune_core.shared_batch_norm import share_batch_norm


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def trained(model: nn.Module) -> nn.Module:
    """With statistics and weights as training leaves them: none of them a mere 0 or 1."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


def outputs(model: nn.Module, layer: nn.Module, images: Tensor) -> Iterator[Tensor]:
    """What the layer puts out, and the logits."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output.clone()))
    with torch.no_grad():
        logits = model(images)
    handle.remove()
    return iter([*kept, logits])


def assert_same_function(model: nn.Module, layer: nn.Module, images: Tensor) -> nn.Module:
    expected = list(outputs(model, layer, images))
    network, own = folded(model, layer, images[:1])
    for found, wanted in zip(outputs(network, own, images), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    return network


@pytest.mark.parametrize(
    ("architecture", "size", "left"),
    [
        ("small_cnn", 28, 1),  # that after a linear layer
        ("resnet32_cifar", 32, 0),
        ("vgg16_bn_cifar", 32, 0),
        ("resnet50", 64, 0),
        ("timm/efficientnet_b0", 64, 0),
        ("timm/densenet121", 64, 62),  # most of its normalisations come before a convolution
        ("timm/vit_tiny_patch16_224", 224, 0),
    ],
)
def test_a_folded_network_is_the_same_function(architecture: str, size: int, left: int) -> None:
    model = trained(build_model(architecture, 4))
    network = assert_same_function(model, cam_layer(model), torch.rand(2, 3, size, size))
    assert norms(network) == left


def test_normalisations_of_a_crew_are_folded_too() -> None:
    model = share_batch_norm(trained(build_model("small_cnn", 4)), lambda: None)
    assert norms(assert_same_function(model, cam_layer(model), torch.rand(2, 3, 28, 28))) == 1


@pytest.mark.parametrize("name", ["backbone.0", "backbone.1", "backbone.2", "backbone.10", "backbone.13", "linear.1"])
def test_any_layer_can_be_the_one_that_is_looked_at(name: str) -> None:
    model = trained(build_model("small_cnn", 4))
    images = torch.rand(2, 3, 28, 28)
    assert_same_function(model, cam_layer(model, "backbone.12"), images)  # the plan for another is of no use
    assert_same_function(model, model.get_submodule(name), images)


def test_new_weights_and_new_modules_count_at_once() -> None:
    model = trained(build_model("small_cnn", 4))
    layer, images = cam_layer(model), torch.rand(2, 3, 28, 28)
    assert_same_function(model, layer, images)
    first, norm, linear = (model.get_submodule(name) for name in ("backbone.0", "backbone.1", "linear"))
    assert isinstance(first, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(linear, nn.Sequential)
    assert norm.running_var is not None
    first.weight.data.mul_(1.7)  # which no version counter sees
    norm.running_var.mul_(0.5)
    assert_same_function(model, layer, images)
    first.weight = nn.Parameter(torch.randn_like(first.weight))
    assert_same_function(model, layer, images)
    linear[3] = nn.Linear(256, 7)
    assert_same_function(model, layer, images)


class Branching(nn.Module):
    """Of its convolutions one is read twice and one runs twice; only the last can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.runs_twice, self.plain = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.first, self.second, self.third = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        read_twice = self.read_twice(images)
        features = self.first(read_twice) + read_twice
        features = self.second(self.runs_twice(features)) * self.runs_twice(features)
        logits: Tensor = self.third(self.plain(features)).mean(dim=(2, 3))
        return logits


def test_what_something_else_reads_too_is_not_folded() -> None:
    model = trained(Branching())
    network = assert_same_function(model, model.get_submodule("third"), torch.rand(2, 3, 8, 8))
    assert norms(network) == 2


def test_a_model_with_hooks_is_used_as_it_is() -> None:
    model = trained(build_model("small_cnn", 4))
    model.get_submodule("backbone.1").register_forward_hook(lambda _module, _inputs, output: output * 2.0)
    layer = cam_layer(model)
    assert folded(model, layer, torch.rand(1, 3, 28, 28)) == (model, layer)


def test_the_model_is_neither_changed_nor_kept_alive() -> None:
    model = trained(build_model("small_cnn", 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    explain(model, torch.rand(2, 3, 28, 28))
    assert norms(model) == 5
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
