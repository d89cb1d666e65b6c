"""Networks are built as named, and the right layer of each is explained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from masktune_core.architectures import ARCHITECTURES, pretrained_weights
from masktune_core.errors import ArchitectureError, ConfigError
from masktune_core.models import build_model, cam_layer
from masktune_core.models.feature_grid import feature_grid
from masktune_core.saliency import cam_grid
from tests.architecture.sources import ROOT
from tests.masktune_core.tested_architectures import TESTED, page


def name_of(model: nn.Module, layer: nn.Module) -> str:
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    return names[layer]


@pytest.mark.parametrize(
    ("architecture", "size", "layer", "grid"),
    [
        ("small_cnn", 28, "backbone.12", (8, 8)),
        ("resnet32_cifar", 32, "layer3.4", (8, 8)),
        ("resnet32_cifar", 64, "layer3.4", (16, 16)),
        ("vgg16_bn_cifar", 32, "features.42", (2, 2)),
        ("vgg16_bn_cifar", 64, "features.42", (4, 4)),
        ("resnet18", 224, "layer4.1", (7, 7)),
        ("resnet34", 64, "layer4.2", (2, 2)),
        ("resnet50", 224, "layer4.2", (7, 7)),
        ("resnet101", 64, "layer4.2", (2, 2)),
        ("timm/densenet121", 224, "features.norm5", (7, 7)),
        ("timm/efficientnet_b0", 224, "blocks.6.0", (7, 7)),
        ("timm/regnety_002", 224, "s4", (7, 7)),
        ("timm/vit_little_patch16_reg4_gap_256", 256, "blocks.13.norm1", (16, 16)),
        ("timm/vgg11_bn", 64, "features.27", (4, 4)),
        ("timm/mobilenetv3_small_100", 96, "blocks.5.0", (3, 3)),
        ("timm/convnext_femto", 96, "stages.3", (3, 3)),
        ("timm/vit_tiny_patch16_224", 224, "blocks.11.norm1", (14, 14)),
        ("timm/deit_tiny_distilled_patch16_224", 224, "blocks.11.norm1", (14, 14)),
        ("timm/swin_tiny_patch4_window7_224", 224, "layers.3", (7, 7)),
        ("timm/mixer_s32_224", 224, "blocks.7.norm1", (7, 7)),
    ],
)
def test_the_last_convolutional_block_is_explained(
    architecture: str, size: int, layer: str, grid: tuple[int, int]
) -> None:
    with torch.device("meta"):  # shapes only
        model = build_model(architecture, 3)
        assert name_of(model, cam_layer(model)) == layer
        assert cam_grid(model, size) == grid


def test_the_page_of_tested_architectures_is_up_to_date() -> None:
    """If not: `python -m tests.masktune_core.tested_architectures > docs/architectures.md`."""
    assert (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8") == page()


def test_every_architecture_of_our_own_is_tested() -> None:
    assert set(ARCHITECTURES) <= set(TESTED)


@pytest.mark.parametrize(("architecture", "size"), [("small_cnn", 28), ("resnet32_cifar", 32), ("vgg16_bn_cifar", 32)])
def test_a_network_gives_one_logit_for_each_class_and_learns_in_every_layer(architecture: str, size: int) -> None:
    model = build_model(architecture, 5)
    logits = model(torch.rand(4, 3, size, size))
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_small_cnn_is_the_network_of_the_paper() -> None:
    model = build_model("small_cnn", 2)
    shapes = [tuple(parameter.shape) for name, parameter in model.named_parameters() if parameter.ndim > 1]
    assert shapes == [(16, 3, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (256, 512), (2, 256)]
    assert sum(parameter.numel() for parameter in model.parameters()) == 149_202


def test_resnet32_has_the_published_number_of_parameters() -> None:
    model = build_model("resnet32_cifar", 10)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2) == 0.46


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 28, 28), (3, 28, 28)])
def test_small_cnn_names_the_size_that_it_takes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArchitectureError, match=r"\(3, 28, 28\).*input.size"):
        build_model("small_cnn", 2)(torch.zeros(shape))


def test_equal_seeds_give_equal_weights() -> None:
    torch.manual_seed(3)
    first = build_model("resnet32_cifar", 2).state_dict()
    torch.manual_seed(3)
    second = build_model("resnet32_cifar", 2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("architecture", "classes", "message"),
    [
        ("resnet51", 2, "did you mean resnet50"),
        ("timm/vit_tny_patch16_224", 2, "did you mean timm/vit_tiny_patch16_224"),
        ("small_cnn", 0, "at least one class"),
    ],
)
def test_what_cannot_be_built_is_refused(architecture: str, classes: int, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        build_model(architecture, classes)


def test_pretrained_weights_out_of_reach_are_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(
        ArchitectureError, match=r"weights resnet18\.tv_in1k cannot be fetched \(ConnectionError\).*pretrained"
    ):
        build_model("resnet18", 2, pretrained=True)


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [
        ("resnet18", "timm/resnet18.tv_in1k"),
        ("resnet34", "timm/resnet34.tv_in1k"),
        ("resnet50", "timm/resnet50.tv_in1k"),
        ("resnet101", "timm/resnet101.tv_in1k"),
        ("timm/resnet101", "timm/resnet101.a1h_in1k"),
        ("timm/resnet50.a2_in1k", "timm/resnet50.a2_in1k"),
    ],
)
def test_pretrained_networks_start_from_the_weights_that_are_named(
    architecture: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(name: str, *_: object, **__: object) -> None:
        asked.append(name)
        raise ConnectionError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetch)
    with torch.device("meta"), pytest.raises(ArchitectureError, match="cannot be fetched"):
        build_model(architecture, 2, pretrained=True)
    assert asked == [weights]
    assert pretrained_weights(architecture) == weights.removeprefix("timm/")


def test_pretrained_weights_that_do_not_exist_are_a_clear_error() -> None:
    with pytest.raises(ArchitectureError, match="small_cnn has no pretrained weights"):
        build_model("small_cnn", 2, pretrained=True)


def test_another_layer_can_be_named() -> None:
    model = build_model("resnet18", 2)
    assert cam_layer(model, "layer3.1.bn2") is model.get_submodule("layer3.1.bn2")


@pytest.mark.parametrize(
    ("name", "message"), [("layer4.7", "did you mean layer4"), ("", "parts are"), ("x", "parts are")]
)
def test_a_layer_that_does_not_exist_is_refused(name: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        cam_layer(build_model("resnet18", 2), name)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv(x))


def test_a_network_from_elsewhere_is_explained_at_its_last_convolution() -> None:
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), *copy.deepcopy(head))
    assert cam_layer(plain) is plain[2]
    residual = nn.Sequential(nn.Conv2d(3, 4, 3), Residual(), *copy.deepcopy(head))
    assert cam_layer(residual) is residual[1]
    with pytest.raises(ArchitectureError, match="no convolution to explain"):
        cam_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)))


def test_tokens_become_a_grid_without_class_and_register_tokens() -> None:
    model = nn.Module()
    model.num_prefix_tokens = torch.tensor(3)
    tokens = torch.arange(2 * 12 * 5).reshape(2, 12, 5).float()
    grid = feature_grid(tokens, model)
    assert grid.shape == (2, 5, 3, 3)
    assert torch.equal(grid[1, :, 2, 1], tokens[1, 3 + 2 * 3 + 1])


def test_channels_may_be_last() -> None:
    features = torch.rand(2, 7, 7, 5)
    assert torch.equal(feature_grid(features, nn.Module()), features.permute(0, 3, 1, 2))
    square = torch.rand(2, 7, 7, 7)
    assert torch.equal(feature_grid(square, nn.Module()), square)


@pytest.mark.parametrize("shape", [(2, 5), (2, 12, 5), (2, 3, 4, 5, 6)])
def test_features_without_a_grid_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArchitectureError, match="no grid to explain"):
        feature_grid(torch.zeros(shape), nn.Module())


@pytest.mark.parametrize(
    ("architecture", "size", "error", "message"),
    [
        ("resnet18", 28, ConfigError, "grid of 1×1"),
        ("small_cnn", 32, ArchitectureError, r"\(3, 28, 28\)"),
        ("timm/vit_tiny_patch16_224", 64, ArchitectureError, "cannot take an input of 64 px"),
        ("vgg16_bn_cifar", 8, ArchitectureError, "cannot take an input of 8 px"),
    ],
)
def test_an_input_size_that_does_not_suit_is_found_before_training(
    architecture: str, size: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cam_grid(build_model(architecture, 2), size)
