"""What a network costs, without importing torch: so that a job's needs can be told before it is queued.

Counted once with torch's FlopCounterMode and forward hooks, on the native input size; scaled by the input's area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from masktune_core.config import JobConfig

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Footprint:
    """Of one image: `flops` of a forward pass, `activation_bytes` in fp32; `parameters` of the whole network."""

    parameters: int
    flops: int
    activation_bytes: int


_AT: Final[dict[str, tuple[int, Footprint]]] = {
    "small_cnn": (28, Footprint(149_202, 5_602_688, 319_752)),
    "resnet32_cifar": (32, Footprint(463_634, 137_724_160, 2_424_840)),
    "vgg16_bn_cifar": (32, Footprint(14_719_938, 626_395_136, 3_442_696)),
    "resnet18": (224, Footprint(11_177_538, 3_627_124_736, 35_930_120)),
    "resnet34": (224, Footprint(21_285_698, 7_326_500_864, 56_000_520)),
    "resnet50": (224, Footprint(23_512_130, 8_174_280_704, 139_204_616)),
    "resnet101": (224, Footprint(42_504_258, 15_598_723_072, 207_443_976)),
}
_CPU_FLOPS: Final = 4e10  # a few cores; what is told for a kind of job that never ran is no more than an order
_TRAINING_PASSES: Final = 3  # forward, and backward for twice as much
_PROCESS_BYTES: Final = 700 * MIB  # Python and torch, loaded
_OPTIMIZER_COPIES: Final = {"sgd": 1, "adam": 2, "adamw": 2}


def footprint(architecture: str, size: int) -> Footprint | None:
    """The cost of a network for inputs of `size` pixels; None for networks of timm, which nobody has counted."""
    if architecture not in _AT:
        return None
    native, known = _AT[architecture]
    area = (size / native) ** 2
    return Footprint(known.parameters, round(known.flops * area), round(known.activation_bytes * area))


def rough_seconds(config: JobConfig, *, trained: int, explained: int, evaluated: int) -> float | None:
    """Seconds on a CPU for so many images that pass through training, masking and evaluating; an order, no promise."""
    cost = footprint(config.model.architecture, config.input.size)
    if cost is None:
        return None
    passes = trained * _TRAINING_PASSES + explained * 2 + evaluated * 4
    return passes * cost.flops / _CPU_FLOPS


def host_bytes(config: JobConfig, decoded_bytes: int) -> int:
    """Main memory of the training process: the library, and the cache of decoded images as far as it fills."""
    return _PROCESS_BYTES + min(config.runtime.cache_mib * MIB, decoded_bytes)


def device_bytes(config: JobConfig) -> int | None:
    """Memory of the device: weights, gradients, optimizer state, and the activations of the largest batch."""
    cost = footprint(config.model.architecture, config.input.size)
    if cost is None:
        return None
    batch = min(config.runtime.micro_batch or config.erm.batch_size, config.erm.batch_size)
    copies = 2 + _OPTIMIZER_COPIES[config.erm.optimizer.name]
    precision = 1.0 if config.runtime.precision == "fp32" else 0.5
    return round(cost.parameters * 4 * copies + batch * cost.activation_bytes * precision)


def disk_bytes(config: JobConfig, *, archive_bytes: int, train_pixels: int) -> int | None:
    """Disk of the worker: the data set, the masks (a bit a pixel), two checkpoints and two resume points."""
    cost = footprint(config.model.architecture, config.input.size)
    if cost is None:
        return None
    states = 2 + 2 * (2 + _OPTIMIZER_COPIES[config.erm.optimizer.name])
    return archive_bytes + train_pixels // 8 + states * cost.parameters * 4
