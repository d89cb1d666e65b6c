"""A small network trained on a CPU by two threads that share every batch.

Within a layer of a small network there is too little work for several threads: they spend their time waiting for each
other, and on a busy machine little else. Here each thread takes its share of the images through the whole network and
back, and they meet only where batch normalisation needs sums over the whole batch (`shared_batch_norm.py`).

There are always `SIZE` threads, each with one thread of torch's own, and their sums are taken in the order of their
ranks: so the result is the same, to the bit, on any number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Barrier, BrokenBarrierError, local
from types import TracebackType
from typing import Final, Self

import torch
from torch import Tensor

from masktune_core.config import JobConfig
from masktune_core.cores import one_thread_each
from masktune_core.distributed import World

SIZE: Final = 2
SMALL_NETWORKS: Final = frozenset({"small_cnn"})


@dataclass(frozen=True, slots=True)
class Share:
    """What one thread found for its share of a batch: sums over its images, and gradients in the order asked for."""

    loss: Tensor  # () float64
    correct: Tensor  # () int64
    gradients: tuple[Tensor, ...]


class Member:
    """One thread's place in a crew while it works on a batch; `rank` counts from 0."""

    def __init__(self, rank: int, table: _Table) -> None:
        self.rank, self._table = rank, table
        self._meetings = 0

    @property
    def keeps_statistics(self) -> bool:
        """The threads share the model, and one of them writes what is to be remembered of a batch."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """All members' rows, in the order of their ranks; all of them have to come."""
        self._meetings += 1
        return torch.cat(self._table.meet(self.rank, rows, self._meetings % 2))


def member() -> Member | None:
    """The place of the thread that asks, None if it does not work for a crew."""
    return _here.member


def suits_crew(config: JobConfig, device: torch.device, world: World) -> bool:
    """Whether a crew trains this network: a small one, on a CPU, in a single process, as its Python code says."""
    small = config.model.architecture in SMALL_NETWORKS
    return small and device.type == "cpu" and world.size == 1 and not config.runtime.compile


class Crew:
    """Threads that last until `close`; use it as a context manager. One batch at a time."""

    def __init__(self) -> None:
        self._pool = one_thread_each(SIZE, "masktune-crew")
        self._table = _Table()

    def share_out(self, images: Tensor, labels: Tensor, work: Callable[[Tensor, Tensor], Share]) -> list[Share]:
        """`work` on near-equal parts of a batch (B, …), B ≥ `SIZE`, all at the same time; the shares by rank.

        What `work` raises is raised here, once all have stopped.
        """
        parts = zip(images.tensor_split(SIZE), labels.tensor_split(SIZE), strict=True)

        def take(rank: int, part: tuple[Tensor, Tensor]) -> Share:
            with self._seat(Member(rank, self._table)):
                return work(*part)

        tasks = [self._pool.submit(take, rank, part) for rank, part in enumerate(parts)]
        wait(tasks)
        failures = [error for task in tasks if (error := task.exception()) is not None]
        if failures:
            self._table = _Table()
            raise next((error for error in failures if not isinstance(error, BrokenBarrierError)), failures[0])
        return [task.result() for task in tasks]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _seat(self, place: Member) -> Iterator[None]:
        _here.member = place
        try:
            yield
        except BaseException:
            self._table.leave()  # or the others would wait for ever
            raise
        finally:
            _here.member = None


class _Table:
    """Where members lay down their rows. Two places each, in turn: nobody can be two meetings ahead of another."""

    def __init__(self) -> None:
        self._barrier = Barrier(SIZE)
        self._places: tuple[list[Tensor], list[Tensor]] = ([torch.empty(0)] * SIZE, [torch.empty(0)] * SIZE)

    def meet(self, rank: int, rows: Tensor, turn: int) -> list[Tensor]:
        self._places[turn][rank] = rows
        self._barrier.wait()
        return list(self._places[turn])

    def leave(self) -> None:
        self._barrier.abort()


class _Here(local):
    member: Member | None = None


_here = _Here()
