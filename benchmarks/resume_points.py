"""How much of a job's training time goes into its resume points, one at the end of every epoch.

Their files are written while training goes on. Counted is the time in which training stands still for them, and the
processor time of the thread that writes, as if training needed every core: it is an upper bound.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.table import Row
from masktune_core import pipeline
from masktune_core.callbacks import Callbacks, EpochRecord
from masktune_core.config import resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.pipeline.session import Session
from masktune_core.resume import write_resume_point

_MOST_PERCENT = 2.0
_WATERBIRDS = 4795  # training images of the smallest of the paper's data sets of photographs


def run(quick: bool) -> list[Row]:
    """Seconds for resume points against the seconds of all training epochs, for a small network and one of practical
    size."""
    cases = [("small_cnn", 28, 2 if quick else 6, 8000)]
    if not quick:
        cases.append(("resnet18", 64, 1, _WATERBIRDS))
    rows = []
    for architecture, size, epochs, images in cases:
        cost = _measure(architecture, size, epochs, images)
        note = (
            f"{cost.points} points of {epochs} ERM epochs and one of finetuning: training stood still for "
            f"{cost.still:.2f} s, the writing thread took {cost.processor:.2f} s of a core, beside {cost.trained:.1f} s"
        )
        name = f"resume points, share of training time ({architecture}, epochs of {images:,} images)"
        share = 100.0 * (cost.still + cost.processor) / cost.trained
        rows.append(Row(name, share, unit="%", at_most=_MOST_PERCENT, note=note))
    return rows


@dataclass(slots=True)
class _Cost:
    """Seconds: of the training thread for points, of a core for writing them, of all training epochs."""

    still: float = 0.0
    processor: float = 0.0
    trained: float = 0.0
    points: int = 0


def _measure(architecture: str, size: int, epochs: int, images: int) -> _Cost:
    changes = {"model": {"architecture": architecture}, "input": {"size": size}, "erm": {"epochs": epochs}}
    cost = _Cost()
    under_way = False

    def stands_still(method: Callable[[Session], None]) -> Callable[[Session], None]:
        def timed(session: Session) -> None:
            nonlocal under_way
            if under_way:  # `write_point` calls `settle`
                return method(session)
            under_way, began = True, time.perf_counter()
            try:
                return method(session)
            finally:
                cost.still += time.perf_counter() - began
                under_way = False

        return timed

    def written(*arguments: Any, **options: Any) -> Path:
        began = time.thread_time()
        path = write_resume_point(*arguments, **options)
        cost.processor += time.thread_time() - began
        cost.points += 1
        return path

    with tempfile.TemporaryDirectory(prefix="masktune-bench-") as folder:
        root = Path(folder)
        normalise(make_biased_mnist(root / "digits.zip", train=images, val=200, test=200), root / "data.zip")
        with (
            Dataset.open(root / "data.zip") as dataset,
            patch.object(Session, "write_point", stands_still(Session.write_point)),
            patch.object(Session, "settle", stands_still(Session.settle)),
            patch("masktune_core.pipeline.session.write_resume_point", written),
        ):
            clock = _Clock()
            pipeline.run(resolve_config("biased_mnist", changes), dataset, work_dir=root / "run", callbacks=clock)
            cost.trained = clock.seconds
    return cost


class _Clock(Callbacks):
    """Adds up the epochs."""

    seconds = 0.0

    def on_epoch(self, record: EpochRecord) -> None:
        self.seconds += record.seconds
