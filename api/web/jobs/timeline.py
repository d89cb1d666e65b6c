"""The stages of a job's present attempt: done, under way and ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from masktune_core.config import JobConfig
from persistence.stages import StageSpan

State = Literal["done", "now", "ahead", "stopped"]
NAMES: Final = {
    "preparing": "Preparing",
    "training_erm": "ERM training",
    "masking": "Masking",
    "finetuning": "Finetuning",
    "evaluating": "Evaluating",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One stage. `seconds` is how long it took, or has been going on; `fraction` how much of it is done."""

    name: str
    stage: str
    iteration: int
    state: State
    entered_at: datetime | None = None
    seconds: float | None = None
    fraction: float | None = None


def timeline(
    spans: Sequence[StageSpan],
    config: JobConfig,
    progress: Mapping[str, Any] | None,
    *,
    attempt: int,
    running: bool,
    now: datetime,
    from_checkpoint: bool = False,
) -> list[Step]:
    """Every stage of the attempt, those that lie ahead included. `running`: an attempt is under way."""
    entered = {(span.stage, span.iteration): span for span in spans if span.attempt == attempt}
    last = list(entered)[-1] if entered else None
    steps = []
    for stage, iteration in _plan(config, from_checkpoint=from_checkpoint):
        span = entered.get((stage, iteration))
        name = NAMES[stage] + (f" {iteration}" if config.masking.iterations > 1 and iteration else "")
        if span is None:
            # A resumed attempt does not enter again what was finished before.
            passed = any((stage, iteration) == (old.stage, old.iteration) for old in spans)
            steps.append(Step(name, stage, iteration, "done" if passed else "ahead"))
        elif (stage, iteration) != last or span.left_at is not None:
            state: State = "done"
            steps.append(Step(name, stage, iteration, state, span.entered_at, span.seconds))
        else:
            seconds = (now - span.entered_at).total_seconds() if running else None
            fraction = _fraction(progress, stage, iteration) if running else None
            steps.append(
                Step(name, stage, iteration, "now" if running else "stopped", span.entered_at, seconds, fraction)
            )
    return steps


def _plan(config: JobConfig, *, from_checkpoint: bool) -> list[tuple[str, int]]:
    rounds = range(1, config.masking.iterations + 1)
    middle = [(stage, number) for number in rounds for stage in ("masking", "finetuning")]
    first = [] if from_checkpoint else [("training_erm", 0)]
    return [("preparing", 0), *first, *middle, ("evaluating", 0)]


def _fraction(progress: Mapping[str, Any] | None, stage: str, iteration: int) -> float | None:
    if not progress or (progress.get("stage"), progress.get("iteration")) != (stage, iteration):
        return None
    epochs, steps = progress.get("epochs") or 1, progress.get("steps") or 1
    done = (max(progress.get("epoch") or 1, 1) - 1 + (progress.get("step") or 0) / steps) / epochs
    return min(max(done, 0.0), 1.0)
