"""Wrong names are refused before anything is queued, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
from packaging.version import Version
from pydantic import ValidationError

from masktune_core.architectures import ARCHITECTURES, check_architecture, timm_names
from masktune_core.config import ModelConfig
from masktune_core.models.timm_names import PATH


@pytest.mark.parametrize(
    "name", [*ARCHITECTURES, "timm/convnext_tiny", "timm/vit_tiny_patch16_224", "timm/resnet50.a1_in1k"]
)
def test_a_known_architecture_is_accepted(name: str) -> None:
    assert ModelConfig(architecture=name).architecture == name


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("resnet51", "resnet50"),
        ("smal_cnn", "small_cnn"),
        ("convnext_tiny", "timm/convnext_tiny"),
        ("timm/convnext_tny", "timm/convnext_tiny"),
        ("timm/resnet50.a1_in2k", "a1_in1k"),
        ("", "small_cnn"),
        ("timm/", "timm has no usable model"),
        ("timm/../../etc/passwd", "timm has no usable model"),
    ],
)
def test_an_unknown_architecture_is_refused_with_the_nearest_names(name: str, suggestion: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        ModelConfig(architecture=name)
    assert suggestion in str(refusal.value)


def test_pretrained_weights_that_exist_nowhere_are_refused() -> None:
    bare = next(name for name, tags in timm_names().items() if not tags)
    for name in ("small_cnn", f"timm/{bare}"):
        check_architecture(name)
        with pytest.raises(ValueError, match=f"{name} has no pretrained weights"):
            check_architecture(name, pretrained=True)


@pytest.mark.parametrize("name", ["resnet50", "timm/resnet50.a1_in1k", "timm/vit_tiny_patch16_224"])
def test_pretrained_weights_that_exist_are_accepted(name: str) -> None:
    check_architecture(name, pretrained=True)


def test_every_listed_model_is_one_that_timm_has() -> None:
    listed = Version(PATH.read_text(encoding="utf-8").splitlines()[0].split()[2].rstrip(":"))
    assert len(timm_names()) > 1000
    if Version(timm.__version__) == listed:
        assert set(timm_names()) <= set(timm.list_models())
        assert {f"{name}.{tag}" for name, tags in timm_names().items() for tag in tags} <= set(timm.list_pretrained())


def test_checking_a_name_needs_no_torch() -> None:
    code = (
        "import sys; from masktune_core.config import ModelConfig; ModelConfig(architecture='timm/convnext_tiny'); "
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
