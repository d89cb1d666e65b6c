"""Whether a configuration fits its network, as far as that can be known without torch: before anything is queued.

What is found here is what `masktune_core.pipeline.run` would refuse before training. It knows the networks that are
tested layer by layer, the others of timm in part (`masktune_core.networks`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from masktune_core.config import JobConfig
from masktune_core.networks import Network, network


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a job would fail. `code` is that of the error, `field` the dotted path of what to change."""

    code: Literal["architecture_unusable", "config_unusable"]
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """What shows only once the job runs; `field` is the dotted path of what it depends on."""

    field: str
    message: str


def misfits(config: JobConfig) -> list[Misfit]:
    """Everything that is known to be wrong with a configuration that is valid by itself; empty if nothing is."""
    return [*_of_machine(config), *_of_network(config)]


def unknowns(config: JobConfig, *, skips_erm: bool = False) -> list[Unknown]:
    """Everything that could still be wrong, and cannot be known here. `skips_erm`: it starts from a checkpoint."""
    found = list(_unknown_of_network(config))
    if config.model.weights is not None and not skips_erm:
        found.append(Unknown("model.pretrained", f"whether the worker can fetch the weights {config.model.weights}"))
    if config.runtime.device == "cuda":
        found.append(Unknown("runtime.device", "whether a worker has a CUDA device"))
    elif config.runtime.precision != "fp32":
        message = f"whether a worker has the CUDA device that {config.runtime.precision} needs"
        found.append(Unknown("runtime.precision", message))
    if config.runtime.compile:
        found.append(Unknown("runtime.compile", "whether torch can compile the network on the worker"))
    found.append(Unknown("erm.batch_size", "whether the batches fit the device's memory; the estimate is a guess"))
    return found


def _of_machine(config: JobConfig) -> Iterator[Misfit]:
    runtime = config.runtime
    if runtime.device == "cpu" and runtime.precision != "fp32":
        yield Misfit("config_unusable", "runtime.precision", f"{runtime.precision} needs CUDA: use fp32 on the CPU")


def _of_network(config: JobConfig) -> Iterator[Misfit]:
    architecture, known = config.model.architecture, network(config.model.architecture)
    if known is None:
        return
    yield from _of_layer(config, known)
    yield from _of_size(config, known)
    if known.batch_norm and min(config.erm.batch_size, config.runtime.micro_batch or config.erm.batch_size) == 1:
        field = "erm.batch_size" if config.erm.batch_size == 1 else "runtime.micro_batch"
        message = f"{architecture} uses batch normalisation, which needs at least 2 images per pass: raise {field}"
        yield Misfit("config_unusable", field, message)


def _of_layer(config: JobConfig, known: Network) -> Iterator[Misfit]:
    name = config.model.cam_layer
    if name is None:
        return
    fitting = known.parts if known.layers is None else known.layers
    if (name.partition(".")[0] if known.layers is None else name) in fitting:
        return
    close = difflib.get_close_matches(name, fitting, n=3)
    way_out = f"did you mean {' or '.join(close)}?" if close else f"its parts are {', '.join(known.parts)}"
    message = (
        f"{config.model.architecture} has no layer {name!r} to explain (the default is {known.cam_layer}): {way_out}"
    )
    yield Misfit("architecture_unusable", "model.cam_layer", message)


def _of_size(config: JobConfig, known: Network) -> Iterator[Misfit]:
    architecture, size, named = config.model.architecture, config.input.size, config.model.cam_layer
    if known.fixed and size != known.own:
        message = (
            f"{architecture} takes images of {known.own} px, not of {size}: set input.size to {known.own}, or choose "
            "another architecture"
        )
        yield Misfit("architecture_unusable", "input.size", message)
        return
    if known.smallest is not None and size < known.smallest:
        message = f"{architecture} takes images from {known.smallest} px on, not of {size}: raise input.size"
        yield Misfit("architecture_unusable", "input.size", message)
        return
    if config.masking.strategy == "none":
        return
    layer = named or known.cam_layer
    least = known.least if named is None else (known.layers or {}).get(named)
    if least is None or size >= least:
        return
    if known.layers is None:
        what = f"{architecture} cannot take an input of {size} px, or its map has a single cell there"
    else:
        what = f"at {size} px the CAM layer {layer} of {architecture} has a grid of 1×1, which cannot tell pixels apart"
    message = (
        f"{what}: set input.size to {least} or more (it is made for {known.own}), or name an earlier layer in "
        "model.cam_layer"
    )
    yield Misfit("config_unusable", "input.size", message)


def _unknown_of_network(config: JobConfig) -> Iterator[Unknown]:
    architecture, known = config.model.architecture, network(config.model.architecture)
    if known is not None and known.layers is not None:
        return
    if config.model.cam_layer is not None:
        message = f"whether {architecture} can be explained at {config.model.cam_layer}: its layers are not listed here"
        yield Unknown("model.cam_layer", message)
    certain = known is not None and (
        config.input.size == known.own or (known.least is not None and config.input.size >= known.least)
    )
    if not certain:
        message = f"whether {architecture} takes images of {config.input.size} px, and its map has more than one cell"
        yield Unknown("input.size", message)
