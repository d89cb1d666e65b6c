"""How much of a job's training time goes into writing its resume points, one at the end of every epoch."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from benchmarks.table import Row
from masktune_core import pipeline
from masktune_core.callbacks import Callbacks, EpochRecord
from masktune_core.config import resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.pipeline.session import Session

_MOST_PERCENT = 2.0


def run(quick: bool) -> list[Row]:
    """Seconds inside `Session.write_point` against the seconds of all training epochs, for a small network and one of
    practical size."""
    cases = [("small_cnn", 28, 2 if quick else 6, 8000)]
    if not quick:
        cases.append(("resnet18", 64, 1, 1000))
    rows = []
    for architecture, size, epochs, images in cases:
        spent, trained, points = _measure(architecture, size, epochs, images)
        note = f"{points} points of {epochs} ERM epochs and one of finetuning: {spent:.2f} s beside {trained:.1f} s"
        name = f"resume points, share of training time ({architecture})"
        rows.append(Row(name, 100.0 * spent / trained, unit="%", at_most=_MOST_PERCENT, note=note))
    return rows


def _measure(architecture: str, size: int, epochs: int, images: int) -> tuple[float, float, int]:
    """(seconds in resume points, seconds in training epochs, resume points)"""
    changes = {"model": {"architecture": architecture}, "input": {"size": size}, "erm": {"epochs": epochs}}
    spent: list[float] = []
    write_point = Session.write_point

    def timed(session: Session) -> None:
        began = time.perf_counter()
        write_point(session)
        spent.append(time.perf_counter() - began)

    clock = _Clock()
    with tempfile.TemporaryDirectory(prefix="masktune-bench-") as folder:
        root = Path(folder)
        normalise(make_biased_mnist(root / "digits.zip", train=images, val=200, test=200), root / "data.zip")
        with Dataset.open(root / "data.zip") as dataset, patch.object(Session, "write_point", timed):
            pipeline.run(resolve_config("biased_mnist", changes), dataset, work_dir=root / "run", callbacks=clock)
    return sum(spent), clock.seconds, len(spent)


class _Clock(Callbacks):
    """Adds up the epochs."""

    seconds = 0.0

    def on_epoch(self, record: EpochRecord) -> None:
        self.seconds += record.seconds
