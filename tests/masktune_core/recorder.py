"""Callbacks that remember, and can stop a run at a chosen step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masktune_core.callbacks import Callbacks, EpochRecord, Metric, Progress, ResumePointInfo, SampleBatch
from masktune_core.config import Stage
from masktune_core.insight import Insight


class Recorder(Callbacks):
    """`stop_at`: how many times `should_stop` says no before it says yes; None: never."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.asked = 0
        self.stages: list[tuple[Stage, int]] = []
        self.progress: list[Progress] = []
        self.epochs: list[EpochRecord] = []
        self.metrics: list[Metric] = []
        self.warnings: list[str] = []
        self.samples: list[SampleBatch] = []
        self.points: list[ResumePointInfo] = []
        self.insights: list[Insight] = []

    def on_stage(self, stage: Stage, iteration: int) -> None:
        self.stages.append((stage, iteration))

    def on_progress(self, progress: Progress) -> None:
        self.progress.append(progress)

    def on_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def on_metrics(self, metrics: Sequence[Metric]) -> None:
        self.metrics.extend(metrics)

    def on_warning(self, code: str, message: str) -> None:
        self.warnings.append(code)

    def on_samples(self, batch: SampleBatch) -> None:
        self.samples.append(batch)

    def on_insight(self, insight: Insight) -> None:
        self.insights.append(insight)

    def on_resume_point(self, point: ResumePointInfo) -> None:
        self.points.append(point)

    def should_stop(self) -> bool:
        self.asked += 1
        return self.stop_at is not None and self.asked > self.stop_at

    def value(self, name: str, *, stage: Stage, iteration: int, split: str, group: str | None = None) -> float | None:
        """The one metric of that name and place; the newest if it came again."""
        rows = [
            metric
            for metric in self.metrics
            if (metric.name, metric.stage, metric.iteration, metric.split, metric.group)
            == (name, stage, iteration, split, group)
        ]
        assert rows, f"no metric {name}"
        return rows[-1].value


def checkpoint_bytes(folder: Path, name: str = "masktune.safetensors") -> bytes:
    return (folder / "out" / name).read_bytes()


def joined(samples: Sequence[SampleBatch], column: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.concatenate([getattr(batch, column) for batch in samples])
