"""Where a run stands: everything that has to survive an interruption, besides model, optimizer and masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor

from masktune_core.callbacks import Metric
from masktune_core.config import Stage
from masktune_core.optimizers import snapshot

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Selected:
    """The best ERM epoch so far: `epoch` from 1, with weights and optimizer state as they were after it, on the CPU."""

    score: float
    epoch: int
    weights: Weights
    optimizer: dict[str, Any]


@dataclass(slots=True)
class Judged:
    """What every model said about every image, in the order of the final pass; rows: ERM, each round, their product.

    `predicted` int64 (M, N) and `confidence` float64 (M, N), filled up to the pass's position.
    """

    predicted: Tensor
    confidence: Tensor

    @classmethod
    def empty(cls, models: int, images: int) -> Judged:
        return cls(torch.zeros((models, images), dtype=torch.int64), torch.zeros((models, images), dtype=torch.float64))


@dataclass(slots=True)
class RunState:
    """`epoch` and `step` count what is finished inside the stage; `loss`, `correct`, `images` are the epoch's sums.

    In a pass over the images (masking, evaluating) steps are counted from image `offset` on, in batches of
    `pass_batch`: a run that goes on with smaller batches begins to count anew where it stands.
    """

    stage: Stage = "preparing"
    iteration: int = 0
    epoch: int = 0
    step: int = 0
    loss: Tensor | None = None
    correct: Tensor | None = None
    images: int = 0
    epoch_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)  # wall time of each stage, all attempts together
    points: int = 0  # resume points written so far
    pass_batch: int = 0
    offset: int = 0
    device_type: str = ""
    processes: int = 1
    selected: Selected | None = None
    selected_epoch: int | None = None
    stale_epochs: int = 0  # since `selected`
    erm_lr: float | None = None  # the rate that ERM ended with
    erm_weights: Weights | None = None
    round_weights: list[Weights] = field(default_factory=list)
    unmasked: list[int] = field(default_factory=list)  # per round, training images in which nothing is masked
    masked_pixels: list[float] = field(default_factory=list)  # per round, sum of masked fractions
    judged: Judged | None = None
    insight: Weights | None = None  # what `InsightCollector` has added up
    metrics: list[Metric] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)

    def advance(self, stage: Stage, iteration: int) -> None:
        """Stand at the beginning of a stage."""
        self.stage, self.iteration, self.epoch = stage, iteration, 0
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.step, self.images, self.epoch_seconds, self.loss, self.correct = 0, 0, 0.0, None, None
        self.offset = 0

    def go_on_in_batches_of(self, size: int, splits: Sequence[int]) -> None:
        """Count the rest of a pass over splits of so many images in steps of another size."""
        self.offset, self.step = images_seen(splits, self.offset, self.step, self.pass_batch), 0
        self.pass_batch = size

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists, numbers, strings and tensors, as `torch.load(weights_only=True)` accepts them.

        What the run changes in place is copied: the result stays as it is while the run goes on.
        """
        plain = {name: getattr(self, name) for name in self.__slots__}
        for name in ("seconds", "round_weights", "unmasked", "masked_pixels", "warnings"):
            plain[name] = plain[name].copy()
        plain["selected"] = _fields(self.selected)
        plain["judged"] = snapshot(_fields(self.judged))
        plain["insight"] = snapshot(self.insight)
        plain["metrics"] = [astuple(metric) for metric in self.metrics]
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> RunState:
        plain = dict(plain)
        selected, judged = plain["selected"], plain["judged"]
        plain["selected"] = None if selected is None else Selected(**selected)
        plain["judged"] = None if judged is None else Judged(**judged)
        plain["metrics"] = [Metric(*values) for values in plain["metrics"]]
        plain["warnings"] = [(code, message) for code, message in plain["warnings"]]
        return cls(**plain)


def images_seen(splits: Sequence[int], offset: int, steps: int, size: int) -> int:
    """How many images a pass has behind it that began at image `offset` and made `steps` batches of `size` at most.

    No batch spans two splits.
    """
    seen = offset
    for images in splits:
        skipped = min(offset, images)
        offset -= skipped
        made = min(steps, math.ceil((images - skipped) / size))
        steps -= made
        seen += min(made * size, images - skipped)
    return seen


def _fields(value: Selected | Judged | None) -> dict[str, Any] | None:
    return None if value is None else {name: getattr(value, name) for name in value.__slots__}
