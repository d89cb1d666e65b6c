"""One run in progress: model, data, position, and the caller who watches it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from masktune_core.ahead import one_ahead
from masktune_core.callbacks import Callbacks, Metric, Progress, ResumePointInfo
from masktune_core.config import JobConfig, Stage
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.distributed import World
from masktune_core.errors import Interrupted
from masktune_core.mask_store import MaskStore
from masktune_core.optimizers import snapshot
from masktune_core.pipeline.state import RunState
from masktune_core.resume import RunIdentity, write_resume_point
from masktune_core.training import EpochSums, Trainer

Item = TypeVar("Item")
Done = TypeVar("Done")
PROGRESS_SECONDS = 0.25  # between two progress reports inside an epoch


@dataclass(slots=True)
class Session:
    """What the stages share. `train` holds the row indices of the training split."""

    config: JobConfig
    dataset: Dataset
    loader: Loader
    device: torch.device
    model: nn.Module
    trainer: Trainer
    state: RunState
    identity: RunIdentity
    callbacks: Callbacks
    work_dir: Path
    masks: MaskStore | None = None
    sums: EpochSums | None = None
    _point_at: float = field(default_factory=time.monotonic)
    _stage_at: float = field(default_factory=time.monotonic)
    _epoch_at: float = field(default_factory=time.monotonic)
    _progress_at: float = -math.inf
    _points: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "resume-point"))
    _writing: Future[Path] | None = None
    _written: Callable[[Path], ResumePointInfo] | None = None

    @property
    def train(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return self.dataset.splits["train"]

    @property
    def world(self) -> World:
        """The processes that make this run together."""
        return self.loader.world

    @property
    def masks_path(self) -> Path:
        return self.work_dir / "masks.bin"

    def sizes_of(self, indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[tuple[int, int]]:
        """(height, width) of images, in pixels."""
        return [(int(height), int(width)) for height, width in self.dataset.sizes[indices]]

    def ahead(self, items: Iterator[Item], work: Callable[[Item], Done]) -> Iterator[Done]:
        """`map(work, items)`, one ahead of the caller; not so with several processes, which meet in `work`."""
        return one_ahead(items, work) if self.world.size == 1 else map(work, items)

    def enter(self, stage: Stage, iteration: int) -> None:
        """Announce a stage. The state may stand anywhere inside it."""
        self._stage_at = time.monotonic()
        self.callbacks.on_stage(stage, iteration)

    def leave(self, stage: Stage, iteration: int) -> None:
        """The current stage is done; stand at the beginning of the next."""
        if stage == "masking" and self.masks is not None:
            self.settle()  # A point that holds the masks must be on disk before they change.
        self.count_seconds()
        self.state.advance(stage, iteration)
        self.sums = None

    def begin_pass(self) -> None:
        """Start the clock of an epoch, or of a pass over the data without training."""
        self._epoch_at, self._progress_at = time.monotonic(), -math.inf

    def begin_epoch(self) -> EpochSums:
        """Start the clock; returns the sums of the epoch to carry on with."""
        self.begin_pass()
        state = self.state
        self.sums = EpochSums.zero(self.device)
        if state.loss is not None and state.correct is not None:
            self.sums.loss += state.loss.to(self.device)
            self.sums.correct += state.correct.to(self.device)
            self.sums.images = state.images
        return self.sums

    def epoch_seconds(self) -> float:
        """Wall time of the epoch so far, earlier attempts included."""
        return self.state.epoch_seconds + time.monotonic() - self._epoch_at

    def poll(self, step: int) -> None:
        """Stand after `step` finished steps: write a resume point if one is due, stop if the caller asks to.

        Raises `Interrupted`.
        """
        self.state.step = step
        if self._writing is not None and self._writing.done():
            self.settle()
        due = time.monotonic() - self._point_at >= self.config.runtime.resume_minutes * 60.0
        stop, due = self.world.any_of(self.callbacks.should_stop(), due)
        if stop or due:
            self.write_point()
        if stop:
            self.settle()
            raise Interrupted(f"stopped on request in {self.state.stage}; a resume point was written")

    def progress(self, *, step: int, steps: int, epochs: int, images: int) -> None:
        """Report `step` of `steps`, unless the last report was a moment ago. `images`: seen since the clock started."""
        now = time.monotonic()
        if step < steps and now - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = now
        loss, accuracy = self.sums.means() if self.sums is not None and self.sums.images else (None, None)
        if loss is not None and not math.isfinite(loss):
            loss = None  # A GPU's loss is looked at now and then only: the next look ends the run.
        self.callbacks.on_progress(
            Progress(
                stage=self.state.stage,
                iteration=self.state.iteration,
                epoch=self.state.epoch + 1,
                epochs=epochs,
                step=step,
                steps=steps,
                loss=loss,
                accuracy=accuracy,
                images_per_second=images / max(now - self._epoch_at, 1e-9),
            )
        )

    def record(self, metrics: Sequence[Metric]) -> None:
        self.state.metrics.extend(metrics)
        self.callbacks.on_metrics(metrics)

    def warn(self, code: str, message: str) -> None:
        """Once for each code and message, also over resumes."""
        if (code, message) not in self.state.warnings:
            self.state.warnings.append((code, message))
            self.callbacks.on_warning(code, message)

    def write_point(self) -> None:
        """Take a resume point of exactly this position. Its file is written while the run goes on; see `settle`.

        Raises `TrainingDiverged` rather than keep a lost run, and what writing the point before this one raised.
        """
        state = self.state
        if self.sums is not None:
            self.trainer.require_finite_loss(self.sums, f"in {state.stage}")
            state.loss, state.correct = snapshot(self.sums.loss), snapshot(self.sums.correct)
            state.images = self.sums.images
            state.epoch_seconds, self._epoch_at = self.epoch_seconds(), time.monotonic()
        self.count_seconds()
        state.points += 1
        state.pass_batch = self.config.masking.batch_size
        self._point_at = time.monotonic()
        if not self.world.leads:
            return
        self.settle()  # One at a time: a slow disk slows the run rather than fill the memory.
        if self.masks is not None:
            self.masks.flush()
        stage, iteration, epoch, step = state.stage, state.iteration, state.epoch + 1, state.step
        self._written = lambda path: ResumePointInfo(path, stage, iteration, epoch, step)
        self._writing = self._points.submit(
            write_resume_point,
            self.work_dir / "resume",
            state.points,
            identity=self.identity,
            state={
                "run": state.to_plain(),
                "model": snapshot(self.model.state_dict()),
                "optimizer": snapshot(self.trainer.optimizer.state_dict()),
                "scaler": self.trainer.scaler.state_dict(),
            },
            masks=self.masks_path if self.masks is not None else None,
        )
        if stage == "masking":
            self.settle()  # The file of the masks goes on changing.

    def settle(self) -> None:
        """Wait until the last resume point is on disk, and report it. Raises what writing it raised."""
        if self._writing is None or self._written is None:
            return
        writing, self._writing = self._writing, None
        self.callbacks.on_resume_point(self._written(writing.result()))

    def close(self) -> None:
        """Let a resume point be finished, and close the mask store; the files stay."""
        with suppress(Exception):  # One is under way only after another error, which is the one to tell.
            self.settle()
        self._points.shutdown()
        if self.masks is not None:
            self.masks.close()

    def count_seconds(self) -> None:
        """Book the time since the last call on the stage that the session stands in."""
        now = time.monotonic()
        key = self.state.stage
        self.state.seconds[key] = self.state.seconds.get(key, 0.0) + now - self._stage_at
        self._stage_at = now
