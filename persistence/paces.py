"""How fast stages go: learned from jobs that succeeded, corrected by what a running job shows itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from persistence import configs, stages
from persistence.stages import StageSpan
from persistence.tables import Dataset, Job

Pace = Mapping[str, float]
"""Stage → seconds per image; `preparing` → seconds."""

_REMEMBERED: Final = 5  # jobs of a kind to learn from
_TRAINING: Final = ("training_erm", "finetuning")


@dataclass(frozen=True, slots=True)
class Work:
    """Images that pass through each stage of a job, all epochs and rounds together. `kind` is (network, input size)."""

    kind: tuple[str, int]
    images: Mapping[str, int]


def work_of(job: Job, dataset: Dataset | None) -> Work | None:
    """The work of a whole job; None when its data set is gone or not summarised, or its configuration not readable."""
    splits = ((dataset.summary or {}) if dataset is not None else {}).get("splits", {})
    train = int(splits.get("train", {}).get("count", 0))
    if dataset is None or train == 0:
        return None
    try:
        config = configs.read(job.config)
    except configs.UnreadableConfig:
        return None
    rounds = config.masking.iterations
    return Work(
        (config.model.architecture, config.input.size),
        {
            "training_erm": 0 if job.starts_from_checkpoint else train * config.erm.epochs,
            "masking": train * rounds,
            "finetuning": train * rounds * config.finetune.epochs,
            "evaluating": dataset.image_count or train,
        },
    )


def learned(session: Session, works: Iterable[Work | None]) -> dict[tuple[str, int], Pace]:
    """The pace of each kind of job that succeeded before in a single attempt; the mean over the latest few."""
    found: dict[tuple[str, int], Pace] = {}
    for architecture, size in {work.kind for work in works if work is not None}:
        rows = session.execute(
            select(Job, Dataset)
            .join(Dataset, Dataset.id == Job.dataset_id)
            .where(
                Job.status == "succeeded",
                Job.attempt == 1,
                Job.config["model"]["architecture"].astext == architecture,
                Job.config["input"]["size"].astext == str(size),
            )
            .order_by(Job.id.desc())
            .limit(_REMEMBERED)
        ).all()
        paces = [
            pace
            for job, dataset in rows
            if (work := work_of(job, dataset)) is not None
            and (pace := _pace(stages.of(session, job), work)).keys() >= {"masking", "finetuning", "evaluating"}
        ]
        if paces:
            names = {name for pace in paces for name in pace}
            found[architecture, size] = {
                name: _mean([pace[name] for pace in paces if name in pace]) for name in sorted(names)
            }
    return found


def remaining_seconds(session: Session, job: Job, work: Work, pace: Pace | None) -> float | None:
    """What is left of a job, None when nobody knows: a kind of job that never ran, before its own pace shows."""
    spans = [span for span in stages.of(session, job) if span.attempt == job.attempt] if job.stage else []
    known = dict(pace or {}) | _own(job, spans, work)
    for stage, other in ((_TRAINING[0], _TRAINING[1]), (_TRAINING[1], _TRAINING[0])):
        if stage not in known and other in known:
            known[stage] = known[other]  # the same loop over the same images
    seconds = 0.0 if job.stage else known.get("preparing", 0.0)
    for stage, images in _images_left(job, spans, work).items():
        if images > 0:
            if stage not in known:
                return None
            seconds += images * known[stage]
    return seconds


def _images_left(job: Job, spans: list[StageSpan], work: Work) -> dict[str, float]:
    """What is before a job, counted from its latest progress."""
    left: dict[str, float] = {stage: float(images) for stage, images in work.images.items()}
    if not spans or spans[-1].stage == "preparing":
        return left
    config = configs.read(job.config)
    now = spans[-1]
    rounds = config.masking.iterations
    done = _share(job.progress, now.stage, now.iteration)
    if now.stage == "evaluating":
        return {"evaluating": left["evaluating"] * (1.0 - done)}
    if now.stage == "training_erm":
        left["training_erm"] *= 1.0 - done
        return left
    left["training_erm"] = 0.0
    before = max(0, now.iteration - 1) / rounds
    masked = before + (done / rounds if now.stage == "masking" else 1 / rounds)
    tuned = before + (done / rounds if now.stage == "finetuning" else 0.0)
    left["masking"] *= max(0.0, 1.0 - masked)
    left["finetuning"] *= max(0.0, 1.0 - tuned)
    return left


def _share(progress: Mapping[str, Any] | None, stage: str, iteration: int) -> float:
    """How much of a stage is done, in [0, 1]."""
    if progress is None or (progress.get("stage"), progress.get("iteration")) not in ((stage, iteration), (stage, 0)):
        return 0.0
    epochs, steps = max(1, int(progress["epochs"])), max(1, int(progress["steps"]))
    share = (int(progress["epoch"]) - 1 + int(progress["step"]) / steps) / epochs
    return min(1.0, max(0.0, share))


def _own(job: Job, spans: list[StageSpan], work: Work) -> dict[str, float]:
    """What the running attempt shows: its ERM training if it made all of that itself, and its speed at present."""
    finished = _pace(spans, work) if job.attempt == 1 else {}
    own = {stage: pace for stage, pace in finished.items() if stage == "training_erm"}
    progress = job.progress or {}
    if progress.get("images_per_second"):
        own[str(progress["stage"])] = 1.0 / float(progress["images_per_second"])
    return own


def _pace(spans: Iterable[StageSpan], work: Work) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for span in spans:
        if span.seconds is not None:
            seconds[span.stage] = seconds.get(span.stage, 0.0) + span.seconds
    pace = {stage: taken / work.images[stage] for stage, taken in seconds.items() if work.images.get(stage)}
    if "preparing" in seconds:
        pace["preparing"] = seconds["preparing"]
    return pace


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
