"""The images of a plan, decoded side by side in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from masktune_core.cores import core_count
from masktune_core.intake.findings import Findings
from masktune_core.intake.images import ImageError, Prepared, open_image
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import MemberError
from masktune_core.intake.plan import Plan, PlanRow

_IMAGES_IN_FLIGHT: Final = 64
# More would mostly wait for the one thread that reads and writes; and each has a stack, and keeps memory it has freed.
_MOST_DECODERS: Final = 16


class _Task(NamedTuple):
    """An image being decoded, or waiting to be written; `held` bytes are set aside for it."""

    row: PlanRow
    held: int
    future: Future[Prepared]


Done = tuple[PlanRow, Prepared | None]


def decoded(plan: Plan, limits: IntakeLimits, findings: Findings) -> Iterator[Done]:
    """The rows of `plan` in order with their images; None where that failed, which is noted.

    What an image may take, from its bytes to its PNG, is set aside before it is decoded, and given back when the next
    row is asked for. Raises `MemoryError` if it still was not there: that is nobody's fault but the machine's.
    """
    source = plan.tree.source
    with ThreadPoolExecutor(min(core_count(), _MOST_DECODERS), thread_name_prefix="masktune-intake") as pool:
        line = _Line(limits.max_decoding_bytes, findings)
        try:
            for row in plan.rows():
                size = int(source.members.sizes[row.position])
                yield from line.made_room(size)
                try:
                    opened = open_image(source.read(row.position), limits.max_pixels)
                except MemberError as error:
                    line.append(_Task(row, 0, _failed(ImageError("archive_damaged", str(error)))))
                except ImageError as error:
                    line.append(_Task(row, 0, _failed(error)))
                else:
                    yield from line.made_room(size + opened.memory)
                    line.append(_Task(row, size + opened.memory, pool.submit(opened.prepare)))
            yield from line.rest()
        finally:
            line.cancel()


class _Line:
    """Images in flight, in order; together they hold at most `most` bytes, unless one alone holds more."""

    def __init__(self, most: int, findings: Findings) -> None:
        self._most, self._findings = most, findings
        self._tasks: deque[_Task] = deque()
        self._held = 0

    def append(self, task: _Task) -> None:
        """The next image."""
        self._tasks.append(task)
        self._held += task.held

    def made_room(self, wanted: int) -> Iterator[Done]:
        """The first images, as many as have to be done with before another may hold `wanted` bytes."""
        while self._tasks and (self._held + wanted > self._most or len(self._tasks) >= _IMAGES_IN_FLIGHT):
            yield self._first()

    def rest(self) -> Iterator[Done]:
        """All that are left."""
        while self._tasks:
            yield self._first()

    def cancel(self) -> None:
        """Begin none of them any more."""
        for task in self._tasks:
            task.future.cancel()

    def _first(self) -> Done:
        task = self._tasks.popleft()
        self._held -= task.held
        try:
            return task.row, task.future.result()
        except ImageError as error:
            self._findings.error(error.code, task.row.name, str(error))
            return task.row, None


def _failed(error: ImageError) -> Future[Prepared]:
    future: Future[Prepared] = Future()
    future.set_exception(error)
    return future
