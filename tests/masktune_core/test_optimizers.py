"""Optimizers are built as configured, and every epoch's learning rate is torch's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from masktune_core.config import OptimizerConfig, ScheduleConfig
from masktune_core.optimizers import learning_rate, make_optimizer, set_learning_rate, snapshot

EPOCHS = 12


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_the_named_optimizer_gets_rate_and_weight_decay(name: str, kind: type[torch.optim.Optimizer]) -> None:
    config = OptimizerConfig.model_validate({"name": name, "lr": 0.03, "weight_decay": 0.2, "momentum": 0.7})
    optimizer = make_optimizer(nn.Linear(2, 2).parameters(), config)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.03, 0.2)
    assert group.get("momentum", 0.7) == 0.7


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert make_optimizer(model.parameters(), OptimizerConfig()).param_groups[0]["params"] == [model.weight]


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        (ScheduleConfig(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (ScheduleConfig(name="step", step_epochs=3, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 3, 0.5)),
        (
            ScheduleConfig(name="multi_step", milestones=(2, 7), gamma=0.1),
            lambda o: lr_scheduler.MultiStepLR(o, [2, 7], 0.1),
        ),
        (ScheduleConfig(name="cosine"), lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS)),
    ],
    ids=lambda value: value.name if isinstance(value, ScheduleConfig) else "",
)
def test_rates_are_those_of_torchs_schedulers(
    schedule: ScheduleConfig, reference: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]
) -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.2)
    scheduler = reference(optimizer)
    for epoch in range(EPOCHS):
        assert learning_rate(schedule, 0.2, epoch, EPOCHS) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the scheduler is stepped without an optimizer step in between
            scheduler.step()


def test_the_rate_is_set_for_every_parameter() -> None:
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}])
    set_learning_rate(optimizer, 0.7)
    assert [group["lr"] for group in optimizer.param_groups] == [0.7, 0.7]


def test_a_snapshot_shares_no_memory_and_keeps_the_structure() -> None:
    tensor = torch.ones(2)
    original = {"a": [tensor, 1, None], "b": (tensor, "x")}
    copied = snapshot(original)
    tensor.zero_()
    assert torch.equal(copied["a"][0], torch.ones(2))
    assert copied["a"][1:] == [1, None]
    assert isinstance(copied["b"], tuple)
