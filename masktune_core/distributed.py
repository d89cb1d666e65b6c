"""Several processes that train one model: `torchrun` starts them, one per GPU, and each takes its share of every batch.

A run in a group makes the same steps as a run alone: the batch of `erm.batch_size` images is one batch of the whole
group, its order, augmentations and masks do not depend on the number of processes, gradients are those of the whole
batch, and batch normalisation sees the whole batch (`shared_batch_norm.py`). Only sums are taken in another order, so
loss curves agree to rounding, not to the bit; a pixel on the threshold of a mask may then fall to the other side, and a
batch of two or three images under batch normalisation magnifies rounding. Process 0 leads: it alone writes files and
reports.

Alone, everything here does nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size`; `rank` counts from 0."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def keeps_statistics(self) -> bool:
        """Each process has a model of its own, and writes into it what is to be remembered of a batch."""
        return True

    def share(self, count: int) -> slice:
        """Which of `count` things in a row are this process's: near-equal parts, the larger ones first."""
        base, larger = divmod(count, self.size)
        start = self.rank * base + min(self.rank, larger)
        return slice(start, start + base + (self.rank < larger))

    def largest_share(self, count: int) -> int:
        """The largest share that any process has of `count` things."""
        return math.ceil(count / self.size)

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' rows, in the order of their ranks; every process gets them. Rows are alike but in number."""
        if self.size == 1:
            return rows
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(rows)
        dist.all_reduce(counts)
        most = int(counts.max())
        padded = rows.new_zeros((most, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])

    def add(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def count(self, number: int) -> int:
        """The sum of `number` over all processes."""
        return number if self.size == 1 else int(self.add(torch.tensor(number)))

    def any_of(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether any process has it set: then all know it."""
        if self.size == 1:
            return flags
        return tuple(bool(votes) for votes in self.add(torch.tensor(flags, dtype=torch.int64)))

    def hear(self, text: str) -> str:
        """The leader's `text`, when every process has come here."""
        words = [text]
        if self.size > 1:
            dist.broadcast_object_list(words, device=torch.device("cpu"))
        return words[0]


ALONE = World()


def launched() -> bool:
    """Whether `torchrun` started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


@contextmanager
def process_group() -> Iterator[World]:
    """The processes that `torchrun` started, as a group; alone without it. Inside another such block: the same group.

    Tensors on the CPU travel by gloo, those on GPUs by NCCL; each process takes the GPU of its local rank.
    """
    if not launched():
        yield ALONE
    elif dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size())
    else:
        if torch.cuda.is_available():
            torch.cuda.set_device(dist.get_node_local_rank(fallback_rank=0) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        try:
            yield World(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()
