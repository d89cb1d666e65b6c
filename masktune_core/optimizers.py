"""Optimizers, and the learning rate of every epoch as a plain function: there is no scheduler state to resume."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from masktune_core.config import OptimizerConfig, ScheduleConfig


def make_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of `config` over the parameters that require gradients; weight decay applies to all of them."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if config.name == "sgd":
        return torch.optim.SGD(trainable, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    if config.name == "adam":
        return torch.optim.Adam(trainable, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.AdamW(trainable, lr=config.lr, weight_decay=config.weight_decay)


def learning_rate(schedule: ScheduleConfig, lr: float, epoch: int, epochs: int) -> float:
    """The rate of an ERM epoch, counted from 0, out of `epochs`.

    step: gamma after every `step_epochs`; multi_step: gamma after each milestone; cosine: from `lr` down towards 0,
    which the epoch after the last would reach (Loshchilov & Hutter 2017, eq. 5, without restarts).

    >>> learning_rate(ScheduleConfig(name="step", step_epochs=2, gamma=0.5), 0.1, epoch=4, epochs=6)
    0.025
    """
    if schedule.name == "step":
        return lr * schedule.gamma ** (epoch // schedule.step_epochs)
    if schedule.name == "multi_step":
        return lr * schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    if schedule.name == "cosine":
        return lr * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
    return lr


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let every parameter group step at `lr` from now on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def snapshot(value: Any) -> Any:
    """A copy on the CPU of nested dicts and lists of tensors, as `state_dict` gives them; it shares no memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value
