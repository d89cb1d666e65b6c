"""What would fail for its network is known before it is queued, and without torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from masktune_core.config import PRESETS, resolve_config
from masktune_core.config_fit import misfits, unknowns


def found(changes: dict[str, Any], preset: str | None = None) -> dict[str, tuple[str, str]]:
    return {each.field: (each.code, each.message) for each in misfits(resolve_config(preset, changes))}


def asked(changes: dict[str, Any], **options: bool) -> set[str]:
    return {each.field for each in unknowns(resolve_config(None, changes), **options)}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_fits_its_network(preset: str) -> None:
    assert found({}, preset) == {}


@pytest.mark.parametrize(
    ("changes", "field", "code", "words"),
    [
        ({"input": {"size": 32}}, "input.size", "architecture_unusable", "small_cnn takes images of 28 px, not of 32"),
        (
            {"model": {"architecture": "resnet50"}},
            "input.size",
            "config_unusable",
            "at 28 px the CAM layer layer4.2 of resnet50 has a grid of 1×1, which cannot tell pixels apart: "
            "set input.size to 33 or more (it is made for 224)",
        ),
        (
            {"model": {"architecture": "vgg16_bn_cifar"}},
            "input.size",
            "architecture_unusable",
            "vgg16_bn_cifar takes images from 32 px on, not of 28",
        ),
        (
            {"model": {"architecture": "resnet18", "cam_layer": "layer4.7"}, "input": {"size": 64}},
            "model.cam_layer",
            "architecture_unusable",
            "no layer 'layer4.7' to explain (the default is layer4.1): did you mean layer4.1",
        ),
        (
            {"model": {"architecture": "resnet18", "cam_layer": "fc"}, "input": {"size": 64}},
            "model.cam_layer",
            "architecture_unusable",
            "its parts are conv1, bn1",
        ),
        (
            {"model": {"architecture": "resnet18", "cam_layer": "layer3.1"}, "input": {"size": 16}},
            "input.size",
            "config_unusable",
            "the CAM layer layer3.1 of resnet18 has a grid of 1×1",
        ),
        (
            {"model": {"architecture": "timm/vit_tiny_patch16_224"}, "input": {"size": 256}},
            "input.size",
            "architecture_unusable",
            "timm/vit_tiny_patch16_224 takes images of 224 px, not of 256",
        ),
        (
            {"model": {"architecture": "timm/caformer_s18"}, "input": {"size": 32}},
            "input.size",
            "config_unusable",
            "timm/caformer_s18 cannot take an input of 32 px, or its map has a single cell there: set input.size to 35",
        ),
        (
            {"model": {"architecture": "timm/caformer_s18", "cam_layer": "layer4.1"}, "input": {"size": 64}},
            "model.cam_layer",
            "architecture_unusable",
            "its parts are stem, stages, head",
        ),
        ({"erm": {"batch_size": 1}}, "erm.batch_size", "config_unusable", "needs at least 2 images per pass"),
        ({"runtime": {"micro_batch": 1}}, "runtime.micro_batch", "config_unusable", "raise runtime.micro_batch"),
        (
            {"runtime": {"device": "cpu", "precision": "bf16"}},
            "runtime.precision",
            "config_unusable",
            "bf16 needs CUDA",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_place_and_the_way_out(
    changes: dict[str, Any], field: str, code: str, words: str
) -> None:
    problems = found(changes)
    assert {name: kind for name, (kind, _) in problems.items()} == {field: code}
    assert words in problems[field][1]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"architecture": "resnet18"}, "masking": {"strategy": "none"}},  # one cell does for no mask
        {"model": {"architecture": "resnet18", "cam_layer": "layer2"}},
        {"model": {"architecture": "timm/caformer_s18"}, "input": {"size": 35}},
        {"model": {"architecture": "timm/vit_tiny_patch16_224.augreg_in21k"}, "input": {"size": 224}},
        {"model": {"architecture": "timm/convnext_femto"}, "input": {"size": 64}, "erm": {"batch_size": 1}},
    ],
    ids=str,
)
def test_what_fits_is_left_alone(changes: dict[str, Any]) -> None:
    assert found(changes) == {}


def test_what_only_a_worker_can_tell_is_named() -> None:
    assert asked({}) == {"erm.batch_size"}
    pretrained = {"architecture": "resnet18", "pretrained": True}
    everything = {"model": pretrained, "input": {"size": 64}, "runtime": {"device": "cuda", "compile": True}}
    assert asked(everything) == {"erm.batch_size", "model.pretrained", "runtime.device", "runtime.compile"}
    assert "model.pretrained" not in asked(everything, skips_erm=True)
    assert asked({"runtime": {"precision": "fp16"}}) == {"erm.batch_size", "runtime.precision"}
    untested = {"architecture": "timm/caformer_s18", "cam_layer": "stages.2"}
    assert asked({"model": untested, "input": {"size": 28}}) == {"erm.batch_size", "model.cam_layer", "input.size"}
    irregular = {"architecture": "timm/coatnet_0_rw_224"}
    assert asked({"model": irregular, "input": {"size": 192}}) == {"erm.batch_size", "input.size"}
    assert asked({"model": irregular, "input": {"size": 224}}) == {"erm.batch_size"}


def test_none_of_this_needs_torch() -> None:
    code = (
        "import sys; from masktune_core.config import PRESETS; from masktune_core.config_fit import misfits, unknowns; "
        "misfits(PRESETS['waterbirds']); unknowns(PRESETS['waterbirds']); "
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
