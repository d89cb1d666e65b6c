"""A folded network computes what its model computes, also after the model has changed."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from masktune_core.models import build_model, cam_layer
from masktune_core.probabilities import class_probabilities
from masktune_core.saliency import explain, folding
from masktune_core.saliency.folding import folded
from masktune_core.saliency.graph_cut import graph_cut
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


@pytest.fixture
def any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `build_model` had made every model."""
    monkeypatch.setattr(folding, "made_by_name", lambda _model: True)


def test_a_network_from_elsewhere_is_used_as_it_is() -> None:
    model = trained(Branching())
    layer = model.get_submodule("third")
    assert folded(model, layer, torch.rand(1, 3, 8, 8)) == (model, layer)


@pytest.mark.usefixtures("any_network")
def test_what_something_else_reads_too_is_not_folded() -> None:
    model = trained(Branching())
    network = assert_same_function(model, model.get_submodule("third"), torch.rand(2, 3, 8, 8))
    assert norms(network) == 2


class TwoNames(nn.Module):
    """Its layers are members of two containers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()])
        self.features = nn.Sequential(*self.layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.features(images).mean(dim=(2, 3))
        return logits


class Tied(nn.Module):
    """A convolution's weights serve a second operation."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.norm(self.convolution(images)))
        return F.conv_transpose2d(features, self.convolution.weight).mean(dim=(2, 3))


class BySize(nn.Module):
    """Small images take another way."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images)
        features = self.norm(features) if images.shape[-1] < 10 else self.norm(features) + features
        logits: Tensor = self.relu(features).mean(dim=(2, 3))
        return logits


@pytest.mark.usefixtures("any_network")
@pytest.mark.parametrize(("kind", "layer"), [(TwoNames, "features.2"), (Tied, "relu"), (BySize, "relu")])
def test_unusual_networks_are_not_mistaken(kind: type[nn.Module], layer: str) -> None:
    model = trained(kind())
    for size in (8, 12):
        assert_same_function(model, model.get_submodule(layer), torch.rand(2, 3, size, size))


@pytest.mark.usefixtures("any_network")
def test_a_network_that_says_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(build_model("small_cnn", 4))
    layer = cam_layer(model)
    monkeypatch.setattr(folding._Pair, "fold", lambda _pair: None)
    assert folded(model, layer, torch.rand(1, 3, 28, 28)) == (model, layer)


def test_settings_changed_later_count_at_once() -> None:
    model = trained(build_model("resnet32_cifar", 4))
    layer, images = cam_layer(model), torch.rand(2, 3, 32, 32)
    assert_same_function(model, layer, images)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    first.padding = (2, 2)
    assert_same_function(model, layer, images)
    norm.eps = 0.5
    assert_same_function(model, layer, images)
    model.forward = lambda images: images.mean(dim=(2, 3))
    assert folded(model, layer, images[:1]) == (model, layer)


def test_a_model_that_trains_is_used_as_it_is() -> None:
    model = trained(build_model("small_cnn", 4))
    layer, images = cam_layer(model), torch.rand(2, 3, 28, 28)
    assert_same_function(model, layer, images)
    assert folded(model.train(), layer, images[:1]) == (model, layer)
    assert norms(assert_same_function(model.eval(), layer, images)) == 1


def test_a_model_that_cannot_be_copied_is_used_as_it_is() -> None:
    model = trained(build_model("small_cnn", 4))
    vars(model)["lock"] = threading.Lock()
    layer = cam_layer(model)
    assert folded(model, layer, torch.rand(1, 3, 28, 28)) == (model, layer)


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_model_with_hooks_is_used_as_it_is(kind: str) -> None:
    model = trained(build_model("small_cnn", 4))
    getattr(model.get_submodule("backbone.1"), f"register_{kind}_hook")(lambda *_: None)
    layer = cam_layer(model)
    assert folded(model, layer, torch.rand(1, 3, 28, 28)) == (model, layer)


def test_hooks_on_the_layer_of_the_network_do_not_run_with_the_model() -> None:
    model = trained(build_model("small_cnn", 4))
    layer, images = cam_layer(model), torch.rand(1, 3, 28, 28)
    network, own = folded(model, layer, images)
    with graph_cut(network, own):
        assert folded(model, layer, images) == (network, own)


def test_the_model_is_neither_changed_nor_kept_alive() -> None:
    model = trained(build_model("small_cnn", 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    explain(model, torch.rand(2, 3, 28, 28))
    class_probabilities(model, torch.rand(2, 3, 28, 28))
    assert norms(model) == 5
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_a_first_explanation_does_not_load_a_compiler() -> None:
    look = "import sys, torch; from masktune_core.models import build_model; "
    look += "from masktune_core.saliency import explain, folding; model = build_model('small_cnn', 2).eval(); "
    look += "explain(model, torch.rand(2, 3, 28, 28)); "
    look += "print(bool(folding._PLANS[model].pairs), 'torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == "True False\n"
