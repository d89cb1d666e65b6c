"""Results of made-up jobs, as a trainer would write them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tests.api.pictured import IMAGES, SIDE, pictured_sample
from tests.api.seeds import Seeds

GROUPS = ("0-4 · square=no", "0-4 · square=yes", "5-9 · square=no", "5-9 · square=yes")


def part(name: str, accuracy: float | None, count: int) -> dict[str, Any]:
    low = None if accuracy is None else max(0.0, accuracy - 0.03)
    high = None if accuracy is None else min(1.0, accuracy + 0.03)
    return {"name": name, "accuracy": accuracy, "count": count, "low": low, "high": high}


def split(accuracy: float, groups: list[dict[str, Any]], count: int = 1000) -> dict[str, Any]:
    told = [group for group in groups if group["accuracy"] is not None]
    worst = min(told, key=lambda group: group["accuracy"], default=None)
    return {
        "accuracy": accuracy,
        "count": count,
        "worst_group_accuracy": worst and worst["accuracy"],
        "worst_group": worst and worst["name"],
        "group_adjusted_accuracy": None,
        "worst_class_accuracy": accuracy - 0.1,
        "ece": 0.05,
        "groups": groups,
        "classes": [part("0-4", accuracy, count // 2), part("5-9", accuracy - 0.1, count // 2)],
        "confusion": [[450, 50], [150, 350]],
    }


def selective(scores: tuple[str, ...] = ("product", "erm", "masktune")) -> dict[str, Any]:
    curve = {"coverage": [0.25, 0.5, 0.75, 1.0], "risk": [0.0, 0.01, 0.02, 0.1]}
    target = {"target": "0.95", "group": None, "accepted": 950, "coverage": 0.93, "risk": 0.04}
    here = {"aurc": 0.02, "curve": curve, "targets": [target], "realised": dict(curve)}
    return {
        score: {
            "offered": [0.99, 0.9, 0.8, 0.6],
            "thresholds": {"0.95": {"threshold": 0.8, "coverage": 0.95, "risk": 0.03}},
            "splits": {"val": here, "test": here, "test:biased": here},
        }
        for score in scores
    }


def result(worst_before: float = 0.41, worst_after: float = 0.97) -> dict[str, Any]:
    """The worst group of test:biased goes from one accuracy to the other; one of its groups is empty."""

    def splits(worst: float, average: float) -> dict[str, Any]:
        groups = [part(GROUPS[0], 0.99, 500), part(GROUPS[1], None, 0), part(GROUPS[3], worst, 500)]
        return {
            "train": split(0.99, [part(name, 0.98, 250) for name in GROUPS]),
            "val": split(0.98, [part(name, 0.97, 250) for name in GROUPS]),
            "test": split(0.9, [part(name, 0.95, 250) for name in GROUPS]),
            "test:biased": split(average, groups),
        }

    return {
        "format": 1,
        "erm": splits(worst_before, 0.974),
        "masktune": splits(worst_after, 0.97),
        "rounds": [],
        "selective": selective(),
    }


def job_with_result(
    seeds: Seeds, found: dict[str, Any] | None = None, *, side: int = SIDE, **changes: Any
) -> uuid.UUID:
    """A succeeded job over pictured images, of `side` pixels, with everything that a job leaves behind.

    `changes` go into the result.
    """
    job_id = seeds.job(seeds.pictured_dataset(side))
    finish_with_result(seeds, job_id, found, side=side, **changes)
    return job_id


def finish_with_result(
    seeds: Seeds, job_id: uuid.UUID, found: dict[str, Any] | None = None, *, side: int = SIDE, **changes: Any
) -> None:
    """End a queued job with samples, metrics, a result file and what it relied on."""
    token, told = seeds.claim(job_id), (found or result()) | changes
    seeds.samples(job_id, token, [pictured_sample(index, side) for index in range(IMAGES)])
    seeds.metrics(job_id, token, [metric("training_erm", epoch, "loss", 1 / epoch) for epoch in (1, 2, 3)])
    seeds.metrics(job_id, token, [metric("finetuning", 1, "accuracy", 0.9, iteration=1)])
    groups = told["erm"]["train"]["groups"] if "train" in told["erm"] else []
    seeds.metrics(
        job_id,
        token,
        [metric("evaluating", 0, "accuracy", each["accuracy"]) | {"group": each["name"]} for each in groups],
    )
    seeds.artifact(job_id, token, "result.json", json.dumps(told).encode())
    seeds.artifact(job_id, token, "masktune.safetensors", b"weights")
    seeds.insight(job_id, token)
    seeds.finish(job_id, token)


def metric(stage: str, epoch: int, name: str, value: float, *, iteration: int = 0) -> dict[str, Any]:
    return {
        "stage": stage,
        "iteration": iteration,
        "epoch": epoch,
        "split": "train",
        "group": None,
        "name": name,
        "value": value,
        "count": 100,
    }
