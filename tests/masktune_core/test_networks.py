"""What is written down of the networks is true of the installed timm's."""

from __future__ import annotations

import random

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from masktune_core.architectures import TIMM_PREFIX, timm_names
from masktune_core.errors import ArchitectureError, ConfigError
from masktune_core.models import cam_layer
from masktune_core.models.networks import PATH, TESTED, build, cells, explainable, name_of, own_size
from masktune_core.networks import SMALLEST, network
from masktune_core.saliency import cam_grid
from tests.masktune_core import tested_architectures

LISTED = PATH.read_text(encoding="utf-8").splitlines()[0].split()[2].rstrip(".")
EXACT = timm.__version__ == LISTED
of_this_timm = pytest.mark.skipif(not EXACT, reason=f"the table is of timm {LISTED}")


def shows_a_grid(model: nn.Module, name: str, size: int) -> bool:
    with torch.device("meta"):
        try:
            cam_grid(model, size, layer=model.get_submodule(name))
        except (ArchitectureError, ConfigError):
            return False
    return True


@pytest.mark.parametrize("architecture", TESTED)
def test_the_table_is_true_of_a_tested_network(architecture: str) -> None:
    """If not: `python -m masktune_core.models.networks`. Another timm may have more layers, but not fewer."""
    known, model = network(architecture), build(architecture)
    assert known is not None
    assert known.layers is not None
    assert known.cam_layer == name_of(model, cam_layer(model))
    assert known.least == known.layers[known.cam_layer]
    assert known.parts == tuple(name for name, _ in model.named_children()) or not EXACT
    assert known.batch_norm == any(isinstance(module, _BatchNorm) for module in model.modules())

    assert known.own == own_size(architecture, model)
    limit = known.own if known.fixed else known.smallest
    assert limit is not None
    assert cells(model, limit, {}) is not None
    assert limit == SMALLEST or cells(model, limit - 1, {}) is None
    assert not known.fixed or cells(model, known.own + 32, {}) is None

    large = cells(model, known.own if known.fixed else 2 * known.own, explainable(model, known.own)) or {}
    layers = {name for name, count in large.items() if count > 1}
    assert set(known.layers) == layers or (not EXACT and set(known.layers) < layers)
    choose = random.Random(architecture)
    name = choose.choice(list(known.layers))
    least = known.layers[name]
    assert shows_a_grid(model, name, least)
    assert least == limit or not shows_a_grid(model, name, least - 1)
    others = [name for name, _ in model.named_modules() if name and name not in layers]
    assert not shows_a_grid(model, choose.choice(others), known.own)


@of_this_timm
@pytest.mark.parametrize("name", ["caformer_s18", "deit_small_patch16_224", "mobilenetv2_100", "coatnet_0_rw_224"])
def test_what_is_known_of_the_other_networks_is_true(name: str) -> None:
    known, model = network(f"{TIMM_PREFIX}{name}"), build(f"{TIMM_PREFIX}{name}")
    assert known is not None
    assert known.layers is None
    assert shows_a_grid(model, known.cam_layer, known.own)
    assert (cells(model, known.own + 32, {}) is None) == known.fixed or known.least is None
    if not known.fixed and known.least is not None:
        assert shows_a_grid(model, known.cam_layer, known.least)
        assert not shows_a_grid(model, known.cam_layer, known.least - 1)


@of_this_timm
def test_every_network_that_is_accepted_is_in_the_table() -> None:
    assert [name for name in timm_names() if network(TIMM_PREFIX + name) is None] == []
    assert [name for name in TESTED if network(name) is None] == []
    assert set(TESTED) == set(tested_architectures.TESTED)


def test_a_tag_says_nothing_of_the_network() -> None:
    assert network("timm/resnet50.a1_in1k") is network("timm/resnet50")
    assert network("resnet51") is None
