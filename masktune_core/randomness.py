"""Randomness that depends on where a run stands, never on what ran before.

Every random choice is drawn from a seed derived from (seed, purpose, counters). Nothing has to be stored to resume, and
nothing that a callback or another library draws can shift a run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from masktune_core.crew import SMALL_NETWORKS


def derive_seed(seed: int, *parts: int | str) -> int:
    """A 63-bit seed for one purpose: BLAKE2b over the seed and the parts, the same on every machine.

    >>> derive_seed(0, "weights") == derive_seed(0, "weights"), derive_seed(0, "step", 1) == derive_seed(0, "step", 2)
    (True, False)
    """
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Restore torch's global generators (CPU, and `device` if it is a GPU) on the way out.

    Inside, `seed_generators` is free to use: dropout and weight initialisation know no other generator.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed torch's global generator of the CPU, and of `device` if it is a GPU.

    Unlike `torch.manual_seed` it is cheap enough for every step: that one also records a stack trace for each call
    while CUDA is not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Ask torch for kernels that repeat to the bit, and put its settings back on the way out.

    An operation that has no such kernel on `device` warns (once, by torch) and runs all the same.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when its first handle is made
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory = torch.utils.deterministic
    fill: bool = memory.fill_uninitialized_memory  # type: ignore[attr-defined]  # set up by a module subclass
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over every new tensor, to find bugs
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        memory.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn


@contextmanager
def cpu_threads(architecture: str, device: torch.device) -> Iterator[None]:
    """Let torch work on one thread where the network is too small for several, and put its number of threads back.

    On a busy machine the threads of such a network spend their time waiting for each other (measured: 2 threads on 2
    busy cores take 10 times as long as 1). The order in which a sum is taken also depends on their number. Several
    cores are used another way: a `Crew` trains, and `on_all_cores` explains.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and architecture in SMALL_NETWORKS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
