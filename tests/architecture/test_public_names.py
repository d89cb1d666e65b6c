"""The names that others build on are there, with the arguments they were promised."""

from __future__ import annotations

import importlib
import inspect

import pytest

SIGNATURES = {
    "masktune_core.models.build_model": ("architecture", "num_classes", "pretrained"),
    "masktune_core.models.cam_layer": ("model",),
    "masktune_core.saliency.compute_cams": ("model", "images", "method", "target"),
    "masktune_core.masking.upsample_cams": ("cams", "size"),
    "masktune_core.masking.keep_mask": ("cams", "size", "k"),
    "masktune_core.pipeline.run": ("config", "dataset", "callbacks", "resume"),
    "masktune_core.selective.risk_coverage": (),
    "masktune_core.selective.select_threshold": (),
    "masktune_core.config.resolve_config": ("preset", "changes"),
}
DEFAULTS = {
    ("masktune_core.models.build_model", "pretrained"): False,
    ("masktune_core.saliency.compute_cams", "method"): "xgradcam",
    ("masktune_core.saliency.compute_cams", "target"): None,
    ("masktune_core.masking.keep_mask", "k"): 2.0,
    ("masktune_core.pipeline.run", "resume"): None,
}
KEYWORD_ONLY = {
    ("masktune_core.saliency.compute_cams", "method"),
    ("masktune_core.saliency.compute_cams", "target"),
    ("masktune_core.pipeline.run", "callbacks"),
    ("masktune_core.pipeline.run", "resume"),
}


def parameters(dotted: str) -> dict[str, inspect.Parameter]:
    module, _, name = dotted.rpartition(".")
    return dict(inspect.signature(getattr(importlib.import_module(module), name)).parameters)


@pytest.mark.parametrize("dotted", SIGNATURES)
def test_a_public_function_takes_what_was_promised(dotted: str) -> None:
    found = parameters(dotted)
    promised = SIGNATURES[dotted]
    assert [name for name in found if name in promised] == list(promised)
    needed = {name for name, each in found.items() if each.default is inspect.Parameter.empty}
    assert not promised or needed <= set(promised), "who gives what was promised must be able to call it"


@pytest.mark.parametrize(("dotted", "name"), DEFAULTS)
def test_a_public_function_defaults_to_what_was_promised(dotted: str, name: str) -> None:
    assert parameters(dotted)[name].default == DEFAULTS[dotted, name]


@pytest.mark.parametrize(("dotted", "name"), sorted(KEYWORD_ONLY))
def test_an_option_is_given_by_name(dotted: str, name: str) -> None:
    assert parameters(dotted)[name].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_configuration_and_its_presets_are_public() -> None:
    config = importlib.import_module("masktune_core.config")
    assert isinstance(config.PRESETS["waterbirds"], config.JobConfig)
