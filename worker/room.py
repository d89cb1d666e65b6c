"""Whether a job fits this machine, told before it starts rather than hours later.

Estimates err on the small side: what is refused here would have failed. What was judged wrongly still ends with the
same codes as it happens.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset
from masktune_core.models import build_model
from masktune_core.resume import KEPT
from worker.reasons import Shortage

_MIB: Final = 2**20
_OPTIMIZER_STATES: Final = {"sgd": 1, "adam": 2, "adamw": 2}
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that a run needs: on the worker's disk for masks, resume points and results; of memory beyond the process
    itself for decoded images, weights and optimizer state."""

    disk: int
    memory: int


def needs_of(config: JobConfig, dataset: Dataset) -> Needs:
    """An estimate from the data set's sizes and the network's."""
    pixels = int(dataset.sizes.astype(np.int64).prod(axis=1).sum())
    model = build_model(config.model.architecture, len(dataset.classes))
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    trained = weights * (1 + _OPTIMIZER_STATES[config.erm.optimizer.name])
    masks = pixels // 8
    selected = 0 if config.erm.select == "last" else trained
    point = trained + weights + selected
    disk = masks + (KEPT + 1) * point + 2 * weights
    memory = min(config.runtime.cache_mib * _MIB, 3 * pixels) + trained + weights
    return Needs(disk, memory)


def require_room(needs: Needs, folder: Path, *, headroom: int) -> None:
    """Raises `Shortage` (out_of_disk, out_of_host_memory) when the machine has less than that, plus `headroom` bytes
    that the disk must keep free."""
    free = shutil.disk_usage(folder).free
    if free < needs.disk + headroom:
        raise Shortage(
            "out_of_disk",
            f"the job needs about {needs.disk // _MIB} MiB under {folder}, {headroom // _MIB} MiB must stay free, and "
            f"only {free // _MIB} MiB are",
        )
    available = available_memory()
    if available < needs.memory:
        raise Shortage(
            "out_of_host_memory",
            f"the job needs about {needs.memory // _MIB} MiB of memory for decoded images and weights, and the worker "
            f"has {available // _MIB} MiB left",
        )


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its control group where that has a limit."""
    return min(int(psutil.virtual_memory().available), _left_in_cgroup(_own_cgroup()))


def _own_cgroup() -> Path:
    try:
        relative = Path("/proc/self/cgroup").read_text(encoding="ascii").split("::", 1)[1].splitlines()[0]
    except (OSError, IndexError):
        return _CGROUP
    return _CGROUP / relative.lstrip("/")


def _left_in_cgroup(group: Path) -> int:
    """Bytes until the group's limit (cgroup v2), its file cache counted as free; very many where there is no limit."""
    unlimited = 2**62
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit == "max":
            return unlimited
        used = int((group / "memory.current").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        cache = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    except (OSError, ValueError, IndexError):
        return unlimited
    return max(0, int(limit) - used + cache)
