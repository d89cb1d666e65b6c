"""Batch normalisations folded into the convolutions before them: the same function by fewer passes over memory.

In evaluation mode a batch normalisation is an affine map of each channel, and so is what a convolution adds: one
convolution with other weights does both. Explaining on a CPU gains a tenth for ResNet-50, and more for small networks.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from masktune_core.models.registry import made_by_name
from masktune_core.shared_batch_norm import SharedBatchNorm, SharedBatchNormAct, acts

_ROUNDING: Final = 1e-3
"""Of the largest value: a network that is off by more than this is no rounding of its model, and is not used."""
_OF_EVERY_MODULE: Final = frozenset(vars(nn.Module()))
"""Tensors, modules, hooks and the mode, which are looked at by themselves."""


def folded(model: nn.Module, layer: nn.Module, example: Tensor) -> tuple[nn.Module, nn.Module]:
    """A network that computes what `model` does in evaluation mode, and its module in the place of `layer`.

    `model` is on a CPU. `example`, an image (1, 3, S, S), runs through it once, to see which layer reads what, and once
    through the folded network, to see that it says the same. The network shares with the model most modules that are
    not folded: it is good for as long as the model does not change, so ask anew before every use, which costs a pass
    over the weights. What `layer` puts out is the same too, within rounding.

    Gives `model` and `layer` themselves where nothing can be folded; for networks that `build_model` did not make, as
    these may do anything with their layers; for a model in training mode; and for one with hooks, which have to run.
    Raises what the model raises.
    """
    if layer is model or not made_by_name(model) or any(_busy(module) for module in model.modules()):
        return model, layer
    state = _state(model, layer, example)
    plan = _PLANS.get(model)
    if plan is None or plan.state != state:
        plan = _PLANS[model] = _plan(model, layer, example, state)
    if plan.network is None or plan.layer is None:
        return model, layer
    for pair in plan.pairs:
        pair.fold()
    return plan.network, plan.layer


def _busy(module: nn.Module) -> bool:
    """Whether it trains or has hooks."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return module.training or any(hooks)


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
    """How a model in one state (`_state`) is folded; `network` None: not at all. `parts` keeps what the state names."""

    state: tuple[object, ...]
    parts: tuple[object, ...]
    network: nn.Module | None = None
    layer: nn.Module | None = None
    pairs: tuple[_Pair, ...] = ()


_PLANS: WeakKeyDictionary[nn.Module, _Plan] = WeakKeyDictionary()


def _parts(model: nn.Module) -> Iterator[object]:
    """All but the model itself, which must not be kept alive."""
    modules = (module for module in model.modules() if module is not model)
    return chain(modules, model.parameters(), model.buffers())


def _state(model: nn.Module, layer: nn.Module, example: Tensor) -> tuple[object, ...]:
    """All that a plan depends on but the values of tensors: which modules and tensors there are, and their settings."""
    return (id(layer), example.shape[1:], example.dtype, *map(id, _parts(model)), *_settings(model))


def _settings(model: nn.Module) -> Iterator[object]:
    """Values of all modules' own attributes, or the identity of what is no plain value."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name in _OF_EVERY_MODULE:
                continue
            each = value if isinstance(value, tuple) else (value,)
            yield name
            yield value if all(isinstance(one, bool | int | float | str | None) for one in each) else id(value)


def _plan(model: nn.Module, layer: nn.Module, example: Tensor, state: tuple[object, ...]) -> _Plan:
    parts = tuple(_parts(model))
    names = {module: name for name, module in model.named_modules()}
    with torch.inference_mode(mode=False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        try:
            twin = _copy(model, set())  # for hooks that nobody else sees
        except (TypeError, RuntimeError):  # it has something that cannot be copied
            return _Plan(state, parts)
        found, expected = _pairs(model, twin, layer, example) if layer in names else ({}, [])
        if not found:
            return _Plan(state, parts)
        leaves = {module for module in model.modules() if not any(module.children())}
        # The layer is the network's own, as it gets hooks, which must not run with the model.
        network = _copy(model, leaves - set(found) - set(found.values()) - set(layer.modules()))
        pairs = []
        for convolution, norm in found.items():
            both = network.get_submodule(names[convolution])
            assert isinstance(both, nn.Conv2d)
            pairs.append(_Pair(convolution, norm, both))
            rest = [child for _, child in norm.named_children()]  # dropout and activation, of those that have them
            stand_in = (nn.Sequential(*rest) if rest else nn.Identity()).eval()
            for name, module in model.named_modules(remove_duplicate=False):
                if module is norm:
                    network.set_submodule(name, stand_in)
            pairs[-1].fold()
        own = network.get_submodule(names[layer])
        same = _same(_run(network, own, example), expected)
    return _Plan(state, parts, network, own, tuple(pairs)) if same else _Plan(state, parts)


def _copy(model: nn.Module, shared: set[nn.Module]) -> nn.Module:
    """A copy that has its tensors, and the modules `shared`, in common with the model."""
    return copy.deepcopy(model, {id(each): each for each in chain(shared, model.parameters(), model.buffers())})


def _run(model: nn.Module, layer: nn.Module, example: Tensor) -> list[object]:
    """All that the layer puts out, and the logits."""
    kept: list[object] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        kept.append(output.clone() if isinstance(output, Tensor) else output)  # what follows may work in place

    handle = layer.register_forward_hook(keep)
    try:
        logits = model(example)
    finally:
        handle.remove()
    return [*kept, logits]


def _same(found: Sequence[object], expected: Sequence[object]) -> bool:
    """Within rounding, and whether all are tensors."""
    return len(found) == len(expected) and all(
        isinstance(a, Tensor)
        and isinstance(b, Tensor)
        and a.shape == b.shape
        and bool((a - b).abs().max() <= _ROUNDING * b.abs().max())
        for a, b in zip(found, expected, strict=True)
    )


def _pairs(
    model: nn.Module, twin: nn.Module, layer: nn.Module, example: Tensor
) -> tuple[dict[nn.Conv2d, _BatchNorm], list[object]]:
    """Convolutions whose output nothing but a normalisation reads, and that one; each runs once. Not for `layer`.

    And what the model says, as `_run` tells it.
    """
    own = dict(zip(twin.modules(), model.modules(), strict=True))
    twins = {module: each for each, module in own.items()}
    runs: Counter[nn.Module] = Counter()
    made: dict[int, nn.Conv2d] = {}  # which convolution put a tensor out
    took: dict[nn.Module, int] = {}  # which of these tensors a normalisation took
    kept: list[Tensor] = []  # or the identity of one could become that of another

    def watch(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        runs[module] += 1
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            made[id(output)] = module
            kept.append(output)
            reads.count[id(output)] = 0
        elif inputs and id(inputs[0]) in made:
            took[module] = id(inputs[0])

    for module in twin.modules():
        if isinstance(module, nn.Conv2d | _BatchNorm):
            module.register_forward_hook(watch)
    with _Reads() as reads:
        said = _run(twin, twins[layer], example)
    found: dict[nn.Conv2d, _BatchNorm] = {}
    for norm, tensor in took.items():
        convolution = made[tensor]
        if reads.count[tensor] != 1 or runs[norm] != 1 or runs[convolution] != 1:
            continue
        first, second = own[convolution], own[norm]
        if first is layer or type(first) is not nn.Conv2d or not isinstance(second, _BatchNorm):
            continue
        if reads.count[id(first.weight)] == 1 and _plain(first, second):  # nothing else uses the convolution's weights
            found[first] = second
    return found, said


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """How often operations of this thread read each tensor, by the identity of those that live as long as this."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in it; to have it left out by torch's compiler would load that, which takes a second."""
        return False

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        self.count.update(id(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor))
        return func(*args, **kwargs)


def _plain(convolution: nn.Conv2d, norm: _BatchNorm) -> bool:
    """Whether the two do nothing that one convolution, and perhaps an activation, could not do."""
    known = norm.running_mean is not None and norm.running_var is not None
    kind = type(norm) in {nn.BatchNorm2d, SharedBatchNorm, SharedBatchNormAct} or acts(norm)
    return known and kind and convolution.weight.dtype == torch.float32
