"""From the predictions of the final pass to figures, metrics, warnings and files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masktune_core.callbacks import Metric
from masktune_core.checkpoint import save_checkpoint
from masktune_core.config import JobConfig
from masktune_core.evaluation import (
    MOST_DENSE,
    MOST_LISTED_GROUPS,
    Evaluation,
    Predictions,
    SplitEvaluation,
    as_dict,
    background_gap,
    score_split,
)
from masktune_core.manifest import config_sha256, deciding_config, describe_machine
from masktune_core.pipeline.rejecting import judge_rejecting
from masktune_core.pipeline.session import Session

RESULT_FORMAT = 2
_FIGURES = ("accuracy", "worst_group_accuracy", "group_adjusted_accuracy", "worst_class_accuracy", "ece")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run made. `masktune` is the model after the last round, `rounds` has the model after each.

    `artifacts` maps erm.safetensors, masktune.safetensors, result.json and config.json to their paths; `manifest` names
    seed, versions, device and hashes; `warnings` are (code, message); `selective` holds thresholds and curves.
    """

    config: JobConfig
    erm: Evaluation
    masktune: Evaluation
    rounds: tuple[Evaluation, ...]
    metrics: tuple[Metric, ...]
    warnings: tuple[tuple[str, str], ...]
    manifest: dict[str, Any]
    artifacts: dict[str, Path]
    selective: dict[str, Any]


def finish(session: Session, found: Mapping[str, Sequence[Predictions]]) -> Result:
    """Score everything, write the files, and report the final metrics. `found` is what `judge` returns."""
    config, state, dataset = session.config, session.state, session.dataset
    rounds = len(state.round_weights)
    evaluations = [
        Evaluation({split: score_split(dataset, split, rows[number]) for split, rows in found.items()})
        for number in range(rounds + 1)
    ]
    rejecting = judge_rejecting(dataset, found, config.selective, iteration=rounds)
    _warn(session, found, evaluations[0])
    for score, target in rejecting.unreachable:
        session.warn(
            "risk_target_unreachable",
            f"selective {score}: no threshold keeps {target} on the validation split, so nothing would be accepted",
        )
    rows = [row for number, evaluation in enumerate(evaluations) for row in _metrics(evaluation, number)]
    session.record([*rows, *rejecting.metrics])
    session.count_seconds()

    out = session.work_dir / "out"
    artifacts = {name: out / name for name in ("erm.safetensors", "masktune.safetensors", "result.json", "config.json")}
    out.mkdir(parents=True, exist_ok=True)
    assert state.erm_weights is not None, "the ERM model was kept before masking"
    for name, weights, role in (
        ("erm.safetensors", state.erm_weights, "erm"),
        ("masktune.safetensors", state.round_weights[-1], "masktune"),
    ):
        save_checkpoint(
            artifacts[name],
            weights,
            config=deciding_config(config),
            classes=dataset.classes,
            dataset_sha256=session.identity.dataset_sha256,
            role="erm" if role == "erm" else "masktune",
        )
    manifest = {
        **describe_machine(session.device),
        "processes": session.world.size,
        "seed": config.seed,
        "config_sha256": config_sha256(config),
        "dataset_sha256": session.identity.dataset_sha256,
        "initial_state_sha256": session.identity.initial_sha256,
        "pretrained_weights": None if session.identity.initial_sha256 else config.model.weights,
        "checkpoints": {name: _sha256(artifacts[name]) for name in ("erm.safetensors", "masktune.safetensors")},
        "erm_select": config.erm.select,
        "erm_selected_epoch": state.selected_epoch,
        "finetune_lr": config.finetune.lr if config.finetune.lr is not None else state.erm_lr,
        "stage_seconds": {stage: round(seconds, 3) for stage, seconds in state.seconds.items()},
    }
    artifacts["config.json"].write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    report = {
        "format": RESULT_FORMAT,
        "erm": as_dict(evaluations[0]),
        "masktune": as_dict(evaluations[-1]),
        "earlier_rounds": [as_dict(evaluation) for evaluation in evaluations[1:-1]],
        "bg_gap": [background_gap(evaluation) for evaluation in evaluations],
        "unmasked_images": state.unmasked,
        "masked_fraction": [pixels / len(session.train) for pixels in state.masked_pixels],
        "selective": rejecting.report,
        "warnings": [{"code": code, "message": message} for code, message in state.warnings],
        "manifest": manifest,
    }
    indent = 1 if len(dataset.classes) <= MOST_DENSE else None  # beyond, a line for every number doubles the file
    text = json.dumps(report, indent=indent, ensure_ascii=False, allow_nan=False)
    artifacts["result.json"].write_text(text + "\n", encoding="utf-8")
    return Result(
        config=config,
        erm=evaluations[0],
        masktune=evaluations[-1],
        rounds=tuple(evaluations[1:]),
        metrics=tuple(state.metrics),
        warnings=tuple(state.warnings),
        manifest=manifest,
        artifacts=artifacts,
        selective=rejecting.report,
    )


def _metrics(evaluation: Evaluation, iteration: int) -> list[Metric]:
    rows = [row for split, figures in evaluation.splits.items() for row in _split_metrics(split, figures, iteration)]
    gap = background_gap(evaluation)
    if gap is not None:
        count = evaluation.splits["test:mixed_rand"].count
        rows.append(Metric("evaluating", iteration, 0, "test:mixed_rand", None, "bg_gap", gap, count))
    return rows


def _split_metrics(split: str, figures: SplitEvaluation, iteration: int) -> list[Metric]:
    def row(group: str | None, name: str, value: float | None, count: int) -> Metric:
        return Metric("evaluating", iteration, 0, split, group, name, value, count)

    names = [
        name for name in _FIGURES if figures.groups or name not in {"worst_group_accuracy", "group_adjusted_accuracy"}
    ]
    rows = [row(None, name, getattr(figures, name), figures.count) for name in names]
    for group in figures.groups if len(figures.groups) <= MOST_LISTED_GROUPS else ():
        rows.append(row(group.name, "accuracy", group.accuracy, group.count))
        rows.append(row(group.name, "accuracy_low", group.low, group.count))
        rows.append(row(group.name, "accuracy_high", group.high, group.count))
    return rows


def _warn(session: Session, found: Mapping[str, Sequence[Predictions]], erm: Evaluation) -> None:
    dataset, last = session.dataset, len(session.state.round_weights)
    if len(np.unique(dataset.labels[dataset.splits["train"]])) > 1:
        for number, name in ((0, "ERM"), (last, "finetuned")):
            answers = np.unique(np.concatenate([rows[number].predicted for rows in found.values()]))
            if len(answers) == 1:
                session.warn(
                    "degenerate_model",
                    f"the {name} model answers {dataset.classes[answers[0]]!r} for every image",
                )
    if erm.splits["train"].accuracy == 1.0:
        session.warn(
            "training_set_fitted",
            "the ERM model fits every training image, the conflicting ones too: it may have memorised them, and its "
            "maps then show less of the shortcut; fewer erm.epochs may mask better",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
