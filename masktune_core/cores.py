"""Work on independent parts of a batch, a core each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

Part = TypeVar("Part")
Done = TypeVar("Done")


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_all_cores(work: Callable[[Part], Done], parts: Sequence[Part]) -> list[Done]:
    """`[work(part) for part in parts]`, where torch uses one thread for each part and as many parts run as cores.

    A small network has too little work in a layer to share it between threads; whole parts share well. As every part is
    computed by one thread, in the caller's grad mode, inference mode and autocast, the results do not depend on the
    number of cores. `work` must not touch what other parts do. `OMP_NUM_THREADS`, where it is set, is the most cores
    that are used.
    """
    import torch  # not above: intake counts the cores, and has no memory to spare for torch

    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = min(core_count(), int(limit)) if limit.isdecimal() and int(limit) > 0 else core_count()
    if len(parts) < 2 or cores == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [work(part) for part in parts]
        finally:
            torch.set_num_threads(threads)
    return list(_pool(cores).map(_as_here(work), parts))


def _as_here(work: Callable[[Part], Done]) -> Callable[[Part], Done]:
    """`work` in the modes that torch has in this thread: each thread begins with its defaults."""
    import torch

    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    half, kind = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def work_alike(part: Part) -> Done:
        with (
            torch.inference_mode(mode=inference),
            torch.set_grad_enabled(grad),
            torch.autocast("cpu", dtype=kind, enabled=half),
        ):
            return work(part)

    return work_alike


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Lasts as long as the process."""
    return one_thread_each(threads, "masktune-core")


def one_thread_each(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool of so many threads, in each of which torch uses no further ones; the caller's own setting stays."""
    import torch

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    together = Barrier(threads)

    def begin(_: int) -> None:
        together.wait()  # each of the threads takes one of these, none two
        torch.get_num_threads()  # a thread's first operation would give it the process's number: let this be the first
        torch.set_num_threads(1)

    list(pool.map(begin, range(threads)))
    torch.set_num_threads(before)  # parts of the setting belong to the process, not to the thread
    return pool
