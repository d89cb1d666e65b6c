"""Shows a run of the core in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from cli.progress import RunDisplay
from masktune_core.callbacks import Callbacks, EpochRecord, Progress
from masktune_core.config import Stage


class RunCallbacks(Callbacks):
    """`stopping` is asked before every step."""

    def __init__(self, display: RunDisplay, stopping: Callable[[], bool]) -> None:
        self._display = display
        self._stopping = stopping

    def on_stage(self, stage: Stage, iteration: int) -> None:
        self._display.stage(stage, iteration)

    def on_progress(self, progress: Progress) -> None:
        self._display.progress(asdict(progress))

    def on_epoch(self, record: EpochRecord) -> None:
        self._display.epoch(asdict(record))

    def on_warning(self, code: str, message: str) -> None:
        self._display.warning(f"{message} [{code}]")

    def should_stop(self) -> bool:
        return self._stopping()
