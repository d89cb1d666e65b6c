"""The device that benchmarks run on: the first GPU where there is one, else the CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch


def device() -> torch.device:
    """What a job with `runtime.device: auto` would take."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def card() -> str | None:
    """The GPU's name, memory and driver library; None without one."""
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    return f"{found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, torch {torch.__version__}"


def finished(work: Callable[[], object], where: torch.device) -> Callable[[], None]:
    """`work`, but returning only when the device has done it: a GPU is still busy when a call has returned."""

    def waiting() -> None:
        work()
        if where.type == "cuda":
            torch.cuda.synchronize(where)

    return waiting
