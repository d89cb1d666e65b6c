"""Batch normalisation over the batch of a whole group of processes."""

from __future__ import annotations

from typing import cast

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class GroupBatchNorm(_BatchNorm):
    """What `torch.nn.SyncBatchNorm` is on GPUs, on the CPU, which that one refuses.

    Mean and variance are sums over the group that autograd follows; they are what one process would take from the whole
    batch, to rounding, however unequal the shares, an empty one included.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        number = torch.tensor(float(input.numel() // input.shape[1]), dtype=torch.float64)
        dist.all_reduce(number)
        count = float(number)
        mean = _sum(input.sum(axes)) / count
        centred = input - mean.view(shape)
        variance = _sum(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._follow(mean.detach(), variance.detach() * (count / max(count - 1.0, 1.0)))
        scaled: Tensor = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Any number of dimensions will do."""

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _sum(value: Tensor) -> Tensor:
    """The sum over the group, which autograd follows into every process."""
    return cast("Tensor", all_reduce(value))  # type: ignore[no-untyped-call]  # torch's own


class GroupBatchNormAct(GroupBatchNorm):
    """The same for timm's normalisation with an activation of its own."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        return cast("Tensor", self.act(self.drop(super().forward(input))))


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` with every batch normalisation replaced by one over the group; weights and names stay.

    Other modules are the same objects. Returns the model, which is a new one only if it is itself a normalisation.
    """
    if device.type == "cuda":
        return cast("nn.Module", convert_sync_batchnorm(model))  # type: ignore[no-untyped-call]  # timm's own
    if isinstance(model, _BatchNorm):
        return _replacement(model)
    for name, child in model.named_children():
        setattr(model, name, synchronise_batch_norm(child, device))
    return model


def _replacement(norm: _BatchNorm) -> GroupBatchNorm:
    kind = GroupBatchNormAct if isinstance(norm, BatchNormAct2d) else GroupBatchNorm
    made = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    if isinstance(made, GroupBatchNormAct):
        made.drop, made.act = norm.get_submodule("drop"), norm.get_submodule("act")
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    made.training = norm.training
    return made
