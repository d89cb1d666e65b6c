"""What a model says: the same probabilities as those of an explanation, without a graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from masktune_core import cores
from masktune_core.models import build_model
from masktune_core.probabilities import class_probabilities, probabilities
from masktune_core.saliency import explain


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("architecture", "size", "count"), [("small_cnn", 28, 200), ("resnet32_cifar", 32, 130), ("resnet18", 96, 20)]
)
@pytest.mark.parametrize("used", [1, 2])
def test_predictions_are_to_the_bit_those_of_an_explanation(
    architecture: str, size: int, count: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "core_count", lambda: used)
    model, images = build_model(architecture, 5).eval(), torch.rand(count, 3, size, size)
    np.testing.assert_array_equal(class_probabilities(model, images), probabilities(explain(model, images).logits))


def test_no_graph_is_made_for_any_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "core_count", lambda: 2)
    graphs: list[bool] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.layers(images)
            graphs.append(logits.requires_grad)
            return logits

    found = class_probabilities(Watched().eval(), torch.rand(300, 3, 28, 28))
    assert found.shape == (300, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert len(graphs) > 1
    assert not any(graphs)


def test_half_precision_reaches_every_part() -> None:
    model, images = build_model("small_cnn", 5).eval(), torch.rand(300, 3, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        logits = [explain(model, images[:count]).logits.dtype for count in (20, 300)]
    assert logits == [torch.bfloat16, torch.bfloat16]
