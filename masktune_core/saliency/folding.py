"""Batch normalisations folded into the convolutions before them: the same function by fewer passes over memory.

In evaluation mode a batch normalisation is an affine map of each channel, and so is what a convolution adds: one
convolution with other weights does both. Explaining on a CPU gains a tenth for ResNet-50, and more for small networks.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from masktune_core.shared_batch_norm import SharedBatchNorm, SharedBatchNormAct, acts


def folded(model: nn.Module, layer: nn.Module, example: Tensor) -> tuple[nn.Module, nn.Module]:
    """A network that computes what `model` does in evaluation mode, and its module in the place of `layer`.

    `model` has to be in evaluation mode on a CPU. `example`, an image (1, 3, S, S), runs through it once, to see which
    layer reads what. The network shares with the model every module that is not folded: it is good for as long as the
    model stays in that mode and its weights do not change, so ask anew before every use, which costs a pass over the
    weights. What `layer` puts out is the same too, within rounding.

    Gives `model` and `layer` themselves where nothing can be folded, and for a model with hooks, which have to run.
    Raises what the model raises.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return model, layer
    plan = _PLANS.get(model)
    if plan is None or not plan.fits(model, layer):
        plan = _PLANS[model] = _plan(model, layer, example)
    if plan.network is None or plan.layer is None:
        return model, layer
    for pair in plan.pairs:
        pair.fold()
    return plan.network, plan.layer


@dataclass(frozen=True, slots=True)
class _Pair:
    """A convolution of the model with the normalisation after it, and the convolution that stands for both."""

    convolution: nn.Conv2d
    norm: _BatchNorm
    both: nn.Conv2d

    def fold(self) -> None:
        own, norm = self.convolution, self.norm
        assert norm.running_mean is not None, "see `_plain`"
        assert norm.running_var is not None, "see `_plain`"
        with torch.inference_mode(mode=False), torch.no_grad():
            weight, bias = fuse_conv_bn_weights(
                own.weight, own.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            ordered = weight.detach().contiguous(memory_format=torch.channels_last)
            self.both.weight = nn.Parameter(ordered, requires_grad=False)
            self.both.bias = nn.Parameter(bias.detach(), requires_grad=False)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a model is folded for the explanation of one layer; `network` None: not at all.

    `parts` are the model's modules, parameters and buffers at that time, `own_layer` the model's layer.
    """

    parts: tuple[object, ...]
    own_layer: nn.Module
    network: nn.Module | None = None
    layer: nn.Module | None = None
    pairs: tuple[_Pair, ...] = ()

    def fits(self, model: nn.Module, layer: nn.Module) -> bool:
        parts = tuple(_parts(model))
        same = len(parts) == len(self.parts) and all(a is b for a, b in zip(parts, self.parts, strict=True))
        return same and layer is self.own_layer


_PLANS: WeakKeyDictionary[nn.Module, _Plan] = WeakKeyDictionary()


def _parts(model: nn.Module) -> Iterator[object]:
    """All but the model itself, which must not be kept alive."""
    modules = (module for module in model.modules() if module is not model)
    return chain(modules, model.parameters(), model.buffers())


def _plan(model: nn.Module, layer: nn.Module, example: Tensor) -> _Plan:
    parts = tuple(_parts(model))
    names = {module: name for name, module in model.named_modules()}
    found = _pairs(model, layer, example) if layer in names else {}
    if not found:
        return _Plan(parts, layer)
    leaves = {module for module in model.modules() if not any(module.children())}
    network = _copy(model, leaves - set(found) - set(found.values()))
    pairs = []
    for convolution, norm in found.items():
        both = network.get_submodule(names[convolution])
        assert isinstance(both, nn.Conv2d)
        pairs.append(_Pair(convolution, norm, both))
        rest = [child for _, child in norm.named_children()]  # dropout and activation, of those that have them
        network.set_submodule(names[norm], (nn.Sequential(*rest) if rest else nn.Identity()).eval())
    return _Plan(parts, layer, network, network.get_submodule(names[layer]), tuple(pairs))


def _copy(model: nn.Module, shared: set[nn.Module]) -> nn.Module:
    """A copy that has its tensors, and the modules `shared`, in common with the model."""
    return copy.deepcopy(model, {id(each): each for each in chain(shared, model.parameters(), model.buffers())})


def _pairs(model: nn.Module, layer: nn.Module, example: Tensor) -> dict[nn.Conv2d, _BatchNorm]:
    """Convolutions whose output nothing but a normalisation reads, and that one; each runs once. Not for `layer`."""
    twin = _copy(model, set())  # with hooks that nobody else sees
    own = dict(zip(twin.modules(), model.modules(), strict=True))
    runs: Counter[nn.Module] = Counter()
    made: dict[int, nn.Module] = {}  # which module put a tensor out
    took: dict[nn.Module, int] = {}  # which tensor a normalisation took

    def watch(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        runs[module] += 1
        took[module], made[id(output)] = id(inputs[0]), module

    for module in twin.modules():
        if isinstance(module, nn.Conv2d | _BatchNorm):
            module.register_forward_hook(watch)
    with torch.inference_mode(mode=False), torch.no_grad(), torch.autocast("cpu", enabled=False), _Reads() as reads:
        twin(example)
    found: dict[nn.Conv2d, _BatchNorm] = {}
    for norm, tensor in took.items():
        convolution = made.get(tensor)
        if convolution is None or reads.count[tensor] != 1 or runs[norm] != 1 or runs[convolution] != 1:
            continue
        first, second = own[convolution], own[norm]
        if first is not layer and type(first) is nn.Conv2d and isinstance(second, _BatchNorm) and _plain(first, second):
            found[first] = second
    return found


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """How often operations of this thread read each tensor, by its identity; the tensors live as long as this."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()
        self._kept: list[object] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        output = func(*args, **kwargs)
        self.count.update(map(id, read))
        self._kept += [*read, *tree_leaves(output)]
        return output


def _plain(convolution: nn.Conv2d, norm: _BatchNorm) -> bool:
    """Whether the two do nothing that one convolution, and perhaps an activation, could not do."""
    known = norm.running_mean is not None and norm.running_var is not None and not norm.training
    kind = type(norm) in {nn.BatchNorm2d, SharedBatchNorm, SharedBatchNormAct} or acts(norm)
    return known and kind and convolution.weight.dtype == torch.float32
