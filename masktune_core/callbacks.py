"""What a run tells its caller, and how the caller stops it.

Subclass `Callbacks` and override what is of interest. Every method is called in the thread that runs the pipeline, so a
slow one slows the training; an exception raised in one ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from masktune_core.config import Stage
from masktune_core.insight import Insight

MOST_PROBABILITIES = 1000
"""Classes up to which samples carry the probabilities of all of them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands inside a stage; sent a few times a second and at the last step of every epoch.

    `epoch` counts from 1 and `step` is the number of finished steps of `steps`; stages without epochs report epoch 1
    of 1. `iteration` is 0 for ERM and the final evaluation, and the round of masking otherwise. `loss` and `accuracy`
    are means over the epoch so far, absent where nothing is trained; so is a loss that is no number any more.
    """

    stage: Stage
    iteration: int
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None
    accuracy: float | None
    images_per_second: float


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """A finished training epoch. `loss` and `accuracy` weight every training image equally; `seconds` is wall time."""

    stage: Stage
    iteration: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    val_accuracy: float | None
    lr: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Metric:
    """One number. `group` None: the whole split. `value` None: undefined, as for an empty group, whose `count` is 0.

    Training rows carry the stage and an epoch from 1. Final rows carry stage "evaluating", epoch 0, and as iteration
    0 for the ERM model or n for the model after round n.
    """

    stage: Stage
    iteration: int
    epoch: int
    split: str
    group: str | None
    name: str
    value: float | None
    count: int | None


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """What both models make of some images: B rows, as columns. "before" is the ERM model, "after" the finetuned one.

    `index` is the row in the data set, `group` is -1 where unknown, confidences are softmax probabilities of the
    predicted class, `masked_fraction` is masked pixels / image pixels. `masks[i]` is `zlib` of `np.packbits` over the
    flattened (height, width) keep mask: a set bit is a kept pixel. For a training image it is the mask of the last
    round; for any other image it is what the ERM model would have had masked.
    """

    index: npt.NDArray[np.int64]
    split: list[str]
    label: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    predicted_before: npt.NDArray[np.int64]
    confidence_before: npt.NDArray[np.float32]
    predicted_after: npt.NDArray[np.int64]
    confidence_after: npt.NDArray[np.float32]
    masked_fraction: npt.NDArray[np.float32]
    height: npt.NDArray[np.int32]
    width: npt.NDArray[np.int32]
    cam_before: npt.NDArray[
        np.float16
    ]  # (B, h, w), raw map on the CAM grid, times a power of two where float16 needs it
    cam_after: npt.NDArray[np.float16]
    masks: list[bytes]
    probabilities_before: npt.NDArray[np.float16] | None  # (B, K), None where there are more than `MOST_PROBABILITIES`
    probabilities_after: npt.NDArray[np.float16] | None


@dataclass(frozen=True, slots=True)
class ResumePointInfo:
    """A resume point just written to `path`: `step` steps of `epoch` (from 1) are done; 0 where one has just ended.

    The pipeline keeps the newest two files: whoever wants to keep one longer copies or links it during the call.
    """

    path: Path
    stage: Stage
    iteration: int
    epoch: int
    step: int


class Callbacks:
    """Does nothing and never stops a run."""

    def on_stage(self, stage: Stage, iteration: int) -> None:
        """A stage begins, or goes on after a resume."""

    def on_progress(self, progress: Progress) -> None:
        """Steps were made."""

    def on_epoch(self, record: EpochRecord) -> None:
        """A training epoch ended, its validation included."""

    def on_metrics(self, metrics: Sequence[Metric]) -> None:
        """New numbers. After a resume, those of the interrupted epoch or stage come again."""

    def on_warning(self, code: str, message: str) -> None:
        """The run goes on, but its result deserves a second look. `code` is stable."""

    def on_samples(self, batch: SampleBatch) -> None:
        """Rows of the final evaluation. Each image comes once in a run; an image may come again after a resume."""

    def on_insight(self, insight: Insight) -> None:
        """What the models relied on, once all training images were looked at."""

    def on_resume_point(self, point: ResumePointInfo) -> None:
        """A resume point is on disk, complete and flushed; the run may be some steps further by now."""

    def should_stop(self) -> bool:
        """Asked before every step. True: a resume point is written and `Interrupted` is raised."""
        return False


class Following(Callbacks):
    """For a process that does not lead: reports nothing, and passes on the wish to stop."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    def should_stop(self) -> bool:
        return self._callbacks.should_stop()
