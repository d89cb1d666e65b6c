"""Runs on data that is not neat: images of all sizes, cropped, few, without validation, test or groups."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masktune_core.config import resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.errors import ConfigError, TrainingDiverged
from masktune_core.intake.normalise import normalise
from masktune_core.pipeline import run
from masktune_core.pipeline import session as session_module
from masktune_core.training import EpochSums, Trainer
from tests.masktune_core.archives import picture, png, table, write_dataset, zip_bytes
from tests.masktune_core.recorder import Recorder

RESNET: dict[str, Any] = {
    "model": {"architecture": "resnet18", "cam_layer": "layer2.1"},
    "input": {"size": 32, "resize": 36, "center_crop": 40, "augment": {"random_resized_crop": [0.7, 1.0]}},
    "erm": {"epochs": 1, "batch_size": 4},
    "masking": {"batch_size": 5},
}


def test_images_of_all_sizes_get_masks_of_their_own_size_inside_what_was_seen(tmp_path: Path) -> None:
    images = [picture(i, 30 + 7 * (i % 4), 60 - 9 * (i % 3)) for i in range(13)]
    dataset = write_dataset(tmp_path / "dataset.zip", images, splits=("train", "train", "test"))
    recorder = Recorder()
    config = resolve_config(None, RESNET)
    run(config, dataset, work_dir=tmp_path / "run", callbacks=recorder)
    seen = 0
    for batch in recorder.samples:
        for row, index in enumerate(batch.index.tolist()):
            height, width = images[index].shape[:2]
            assert (batch.height[row], batch.width[row]) == (height, width)
            bits = np.unpackbits(np.frombuffer(zlib.decompress(batch.masks[row]), np.uint8), count=height * width)
            masked = ~bits.reshape(height, width).astype(bool)
            top, left, box_height, box_width = config.input.evaluation_box(height, width)
            inside = masked[top : top + box_height, left : left + box_width]
            assert inside.sum() == masked.sum()
            seen += 1
    assert seen == 13
    dataset.close()


def test_without_validation_and_test_it_runs_and_says_what_is_missing(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset.zip", [picture(i, 28, 28) for i in range(6)])
    recorder = Recorder()
    config = resolve_config("biased_mnist", {"erm": {"epochs": 1, "batch_size": 4}})
    result = run(config, dataset, work_dir=tmp_path / "run", callbacks=recorder)
    assert {"no_validation_split", "no_test_split"} <= set(recorder.warnings)
    assert [epoch.val_accuracy for epoch in recorder.epochs] == [None, None]
    assert list(result.erm.splits) == ["train"]
    assert all(report["thresholds"] == {} for report in result.selective.values())
    for select in ("best_accuracy", "best_worst_group"):
        with pytest.raises(ConfigError, match="no val split"):
            run(resolve_config("biased_mnist", {"erm": {"select": select}}), dataset, work_dir=tmp_path / "select")
    dataset.close()


def test_without_attributes_there_are_no_group_figures(tmp_path: Path) -> None:
    names = [(f"{i}.png", "ab"[i % 2], ("train", "train", "val", "test")[i % 4]) for i in range(20)]
    files = {name: png(picture(i, 28, 28)) for i, (name, _, _) in enumerate(names)}
    (tmp_path / "upload.zip").write_bytes(zip_bytes({"metadata.csv": table(names), **files}))
    normalise(tmp_path / "upload.zip", tmp_path / "dataset.zip")
    recorder = Recorder()
    with Dataset.open(tmp_path / "dataset.zip") as dataset:
        config = resolve_config("biased_mnist", {"erm": {"epochs": 1, "batch_size": 4}})
        result = run(config, dataset, work_dir=tmp_path / "run", callbacks=recorder)
        with pytest.raises(ConfigError, match="no image of the val split has a known group"):
            run(
                resolve_config("biased_mnist", {"erm": {"select": "best_worst_group"}}),
                dataset,
                work_dir=tmp_path / "select",
            )
    assert result.masktune.splits["test"].groups == ()
    assert not any(metric.group or "group" in metric.name for metric in recorder.metrics)
    assert all((batch.group == -1).all() for batch in recorder.samples)


def test_one_training_image_is_not_enough(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset.zip", [picture(0, 28, 28)])
    with pytest.raises(ConfigError, match="fewer than 2 images in its train split"):
        run(resolve_config("biased_mnist"), dataset, work_dir=tmp_path / "run")
    dataset.close()


def test_a_rate_that_is_too_high_ends_in_a_clear_error_and_no_files(small_biased: Dataset, tmp_path: Path) -> None:
    changes = {"erm": {"epochs": 3, "batch_size": 32, "optimizer": {"lr": 100.0, "weight_decay": 10.0}}}
    with pytest.raises(TrainingDiverged, match=r"ERM, epoch \d.*lower erm\.optimizer\.lr"):
        run(resolve_config("biased_mnist", changes), small_biased, work_dir=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_no_number_is_reported_as_none_until_the_next_look_at_it(
    small_biased: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the loss is looked at every twenty steps and progress is reported in between."""
    require = Trainer.require_finite_loss

    def at_the_last_step(trainer: Trainer, sums: EpochSums, where: str) -> None:
        step, steps = where.removeprefix("at step ").split(" of ")[:2]
        if step == steps:
            require(trainer, sums, where)

    monkeypatch.setattr(Trainer, "require_finite_loss", at_the_last_step)
    monkeypatch.setattr(session_module, "PROGRESS_SECONDS", 0.0)
    recorder = Recorder()
    changes = {"erm": {"epochs": 3, "batch_size": 32, "optimizer": {"lr": 100.0, "weight_decay": 10.0}}}
    with pytest.raises(TrainingDiverged):
        run(resolve_config("biased_mnist", changes), small_biased, work_dir=tmp_path, callbacks=recorder)
    losses = [progress.loss for progress in recorder.progress if progress.step > 0]
    assert None in losses
    assert all(loss is None or math.isfinite(loss) for loss in losses)


def test_the_gap_between_backgrounds_is_reported_where_both_test_sets_are_there(tmp_path: Path) -> None:
    splits = ("train", "train", "test:mixed_same", "test:mixed_rand", "test:only_fg")
    images = [picture(i, 28, 28) for i in range(50)]
    config = resolve_config("biased_mnist", {"erm": {"epochs": 1, "batch_size": 8}})
    with write_dataset(tmp_path / "dataset.zip", images, splits=splits) as dataset:
        result = run(config, dataset, work_dir=tmp_path / "run")
    reported = [(row.iteration, row.split, row.value) for row in result.metrics if row.name == "bg_gap"]
    expected = [
        evaluation.splits["test:mixed_same"].accuracy - evaluation.splits["test:mixed_rand"].accuracy
        for evaluation in (result.erm, result.masktune)
    ]
    assert reported == [(number, "test:mixed_rand", gap) for number, gap in enumerate(expected)]
    assert json.loads(result.artifacts["result.json"].read_text())["bg_gap"] == expected
