"""The stages of a job's present attempt: done, under way and ahead."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from masktune_core.config import JobConfig
from persistence.stages import StageSpan

Stage = tuple[str, int]
"""With its round, which counts from 1, 0 outside of rounds."""
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
    succeeded: bool = False,
) -> list[Step]:
    """Every stage of the attempt, those that lie ahead included. `running`: an attempt is under way.

    A resumed attempt does not enter again what was finished before it: that is what the plan places before the first
    stage after preparing that it entered. While it prepares, nobody knows where it will go on; what lies before the
    furthest stage that any attempt entered is done at any rate. Stages that the job came past without entering them are
    left out, and of one that `succeeded` all that it never entered: they were not needed.
    """
    plan = _plan(config, from_checkpoint=from_checkpoint)
    entered = {(span.stage, span.iteration): span for span in spans if span.attempt == attempt}
    ever = {(span.stage, span.iteration) for span in spans}
    last = list(entered)[-1] if entered else None
    behind = _behind(plan, [*entered], ever)
    steps = []
    for place, (stage, iteration) in enumerate(plan):
        span = entered.get((stage, iteration))
        name = NAMES[stage] + (f" {iteration}" if config.masking.iterations > 1 and iteration else "")
        if span is None:
            over = 0 < place < behind
            if (stage, iteration) in ever or not (over or succeeded):
                steps.append(Step(name, stage, iteration, "done" if over else "ahead"))
        elif (stage, iteration) != last or succeeded:
            steps.append(Step(name, stage, iteration, "done", span.entered_at, span.seconds))
        elif running:
            seconds = (now - span.entered_at).total_seconds()
            fraction = _fraction(progress, stage, iteration)
            steps.append(Step(name, stage, iteration, "now", span.entered_at, seconds, fraction))
        else:
            steps.append(Step(name, stage, iteration, "stopped", span.entered_at, span.seconds))
    return steps


def _behind(plan: Sequence[Stage], entered: Sequence[Stage], ever: Collection[Stage]) -> int:
    """How many stages at the start of the plan were over before the attempt came to those that it `entered`."""
    first = min((plan.index(stage) for stage in entered if stage in plan[1:]), default=None)
    return max((plan.index(stage) for stage in ever if stage in plan), default=0) if first is None else first


def _plan(config: JobConfig, *, from_checkpoint: bool) -> list[Stage]:
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
