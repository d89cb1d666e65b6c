"""Batch normalisation over a batch that several share: the threads of a `Crew`, or the processes of a `World`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    # Else it is loaded where it is used: it takes as long to load as torch, and the small networks do without.
    from timm.layers.norm_act import BatchNormAct2d


class Group(Protocol):
    """Those who share a batch, as one of them sees them."""

    @property
    def keeps_statistics(self) -> bool:
        """Whether this one writes the running statistics; of several with the same memory, one does."""

    def gather(self, rows: Tensor) -> Tensor:
        """Everybody's rows, in the order of their ranks; all have to come."""


class SharedBatchNorm(_BatchNorm):
    """torch's batch normalisation, but in training with the mean and variance of the whole batch of a group.

    `group` says whom the batch is shared with at the moment; None: with nobody, and torch's own is used.

    Sums are taken by `Tensor.sum`, which adds up in a tree. torch's own normalisation adds value after value on a CPU
    in the memory format NHWC: where images have large even areas, a mean that is off by 1e-5 shifts the gradients of
    such an area all one way, and those of the convolution before it are then off by percents.
    """

    def __init__(self, norm: _BatchNorm, group: Callable[[], Group | None]) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.group = group
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.training = norm.training

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        group = self.group() if self.training else None
        if group is None:
            return super().forward(input)
        weight = input.new_ones(self.num_features) if self.weight is None else self.weight
        bias = input.new_zeros(self.num_features) if self.bias is None else self.bias
        return cast("Tensor", _Normalise.apply(input, weight, bias, self, group))  # type: ignore[no-untyped-call]

    def follow(self, mean: Tensor, variance: Tensor, number: float) -> None:
        """Let the running statistics follow those of a batch with `number` values a channel, (C,) float64 each."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * (number / max(number - 1.0, 1.0))).to(self.running_var.dtype), share)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Any number of dimensions will do."""


class SharedBatchNormAct(SharedBatchNorm):
    """The same for timm's normalisation with an activation of its own."""

    def __init__(self, norm: BatchNormAct2d, group: Callable[[], Group | None]) -> None:
        super().__init__(norm, group)
        self.drop, self.act = norm.get_submodule("drop"), norm.get_submodule("act")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        return cast("Tensor", self.act(self.drop(super().forward(input))))


def share_batch_norm(model: nn.Module, group: Callable[[], Group | None]) -> nn.Module:
    """`model` with every batch normalisation replaced by one over a group; weights and names stay.

    Other modules are the same objects. Returns the model, which is a new one only if it is itself a normalisation.
    """
    if isinstance(model, _BatchNorm):
        return SharedBatchNormAct(model, group) if acts(model) else SharedBatchNorm(model, group)
    for name, child in model.named_children():
        setattr(model, name, share_batch_norm(child, group))
    return model


def synchronise_batch_norm(model: nn.Module, device: torch.device, world: Group) -> nn.Module:
    """`model` with every batch normalisation replaced by one over the processes of `world`, on GPUs by torch's own."""
    if device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm

        return cast("nn.Module", convert_sync_batchnorm(model))  # type: ignore[no-untyped-call]  # timm's own
    return share_batch_norm(model, lambda: world)


def acts(norm: _BatchNorm) -> TypeGuard[BatchNormAct2d]:
    """Whether it is timm's normalisation with an activation: then timm is loaded."""
    timm = sys.modules.get("timm.layers.norm_act")
    return timm is not None and isinstance(norm, timm.BatchNormAct2d)


class _Normalise(torch.autograd.Function):
    """ŷ · weight + bias with ŷ = (x - mean) / √(variance + ε), statistics of the whole batch, and its gradient.

    With N values a channel and sums over the whole batch (Ioffe and Szegedy 2015, section 3):
    ∂x = weight / √(variance + ε) · (∂y - Σ∂y / N - ŷ · Σ(∂y · ŷ) / N). Each member returns its own share of the
    gradients of weight and bias, like those of all other parameters.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: SharedBatchNorm, group: Group) -> Tensor:
        exact_mean, exact_variance, number = _joined(group.gather(_statistics(x)[None]))
        if group.keeps_statistics:
            norm.follow(exact_mean, exact_variance, number)
        mean, variance = exact_mean.to(x.dtype), exact_variance.to(x.dtype)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.number, ctx.group = norm.eps, number, group
        return _affine(x, weight, bias, mean, variance, norm.eps)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = outputs
        x, weight, mean, variance = ctx.saved_tensors
        zeros, ones = torch.zeros_like(mean), torch.ones_like(mean)
        normalised = _affine(x, ones, zeros, mean, variance, ctx.eps)
        of_weight, of_bias = _sum(normalised.mul_(slope)), _sum(slope)
        mean_of_weight, mean_of_bias = ctx.group.gather(torch.stack([of_weight, of_bias])[None]).sum(0) / ctx.number
        scale = weight * torch.rsqrt(variance + ctx.eps)
        # what the batch's statistics, which hang on every x, add to the slope that goes straight through
        over_weight, over_bias = -scale * mean_of_weight.to(x.dtype), -scale * mean_of_bias.to(x.dtype)
        indirect = _affine(x, over_weight, over_bias, mean, variance, ctx.eps)
        straight = _affine(slope, scale, zeros, zeros, ones, 0.0)
        return straight.add_(indirect), of_weight.to(x.dtype), of_bias.to(x.dtype), None, None


def _affine(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    """(x - mean) / √(variance + ε) · weight + bias, channel by channel, in one pass over memory."""
    moved: Tensor = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)[0]
    return moved


def _sum(x: Tensor) -> Tensor:
    """Of every channel, (C,) float64."""
    return x.sum([axis for axis in range(x.ndim) if axis != 1]).double()


def _statistics(x: Tensor) -> Tensor:
    """Mean, variance and number of values of every channel: (3, C) float64; zeros for no image."""
    if not len(x):
        return torch.zeros(3, x.shape[1], dtype=torch.float64)
    number = x[:, 0].numel()
    mean = _sum(x) / number
    rounded, zeros, ones = mean.to(x.dtype), x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
    centred = _affine(x, ones, zeros, rounded, ones, 0.0)
    # of the values about a mean that was rounded, and so is a little larger than it should be
    variance = _sum(centred.mul_(centred)) / number - (mean - rounded.double()).square()
    return torch.stack([mean, variance, torch.full_like(mean, number)])


def _joined(parts: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and variance (C,) and number of all values, from those of parts (Chan, Golub and LeVeque 1983)."""
    means, variances, numbers = parts.unbind(1)
    number = numbers.sum(dim=0)
    shares = numbers / number
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0).clamp_min(0.0), float(number[0])
