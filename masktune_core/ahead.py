"""Work on the next item while the caller still deals with the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


def one_ahead(items: Iterator[Item], work: Callable[[Item], Done]) -> Iterator[Done]:
    """`map(work, items)`, but always one item ahead of the caller, in a thread of its own.

    `items` are taken in that thread too, one at a time and in order. What either raises comes where its result would.
    At most two results are held. Closing the iterator waits for the work under way.
    """

    def step() -> list[Done]:
        return [work(item) for item in (next(items, _END),) if item is not _END]  # type: ignore[arg-type]

    with ThreadPoolExecutor(1, thread_name_prefix="masktune-ahead") as pool:
        coming = pool.submit(step)
        while done := coming.result():
            coming = pool.submit(step)
            yield done.pop()


_END = object()
