"""What a run with the default options does, tells and leaves behind."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from masktune_core.checkpoint import load_checkpoint, restore_model
from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.evaluation import evaluate
from masktune_core.mask_store import MaskStore
from masktune_core.pipeline import Result
from tests.masktune_core.recorder import Recorder, joined


def test_goes_through_the_stages_in_order(finished: tuple[Result, Recorder]) -> None:
    assert finished[1].stages == [
        ("preparing", 0),
        ("training_erm", 0),
        ("masking", 1),
        ("finetuning", 1),
        ("evaluating", 0),
    ]


def test_reports_every_epoch_with_its_validation_and_rate(finished: tuple[Result, Recorder]) -> None:
    epochs = finished[1].epochs
    assert [(e.stage, e.iteration, e.epoch, e.epochs) for e in epochs] == [
        ("training_erm", 0, 1, 2),
        ("training_erm", 0, 2, 2),
        ("finetuning", 1, 1, 1),
    ]
    assert all(e.lr == 0.01 and e.val_accuracy is not None and 0 < e.loss < 5 for e in epochs)


def test_reports_progress_up_to_the_last_step_of_every_pass(finished: tuple[Result, Recorder]) -> None:
    last = {(p.stage, p.epoch): p for p in finished[1].progress}
    assert {key: (p.step, p.steps) for key, p in last.items()} == {
        ("training_erm", 1): (4, 4),
        ("training_erm", 2): (4, 4),
        ("masking", 1): (4, 4),
        ("finetuning", 1): (4, 4),
        ("evaluating", 1): (8, 8),
    }
    assert all(p.images_per_second > 0 for p in last.values())


def test_hands_out_every_image_of_every_split_once(finished: tuple[Result, Recorder], small_biased: Dataset) -> None:
    samples = finished[1].samples
    index = joined(samples, "index")
    assert sorted(index.tolist()) == list(range(len(small_biased)))
    split = np.array([name for batch in samples for name in batch.split])
    for name, members in small_biased.splits.items():
        assert index[split == name].tolist() == members.tolist()
    assert joined(samples, "label").tolist() == small_biased.labels[index].tolist()
    assert joined(samples, "group").tolist() == small_biased.groups[index].tolist()
    assert max(len(batch.index) for batch in samples) <= 50


def test_hands_out_the_very_masks_of_training(
    finished: tuple[Result, Recorder], small_biased: Dataset, folder: Path
) -> None:
    train = set(small_biased.splits["train"].tolist())
    masked_elsewhere = 0
    with MaskStore.open(folder / "masks.bin") as store:
        for batch in finished[1].samples:
            for row, index in enumerate(batch.index.tolist()):
                bits = np.unpackbits(np.frombuffer(zlib.decompress(batch.masks[row]), np.uint8), count=28 * 28)
                keep = bits.reshape(28, 28).astype(bool)
                assert batch.masked_fraction[row] == pytest.approx(1 - keep.mean(), abs=1e-6)
                if index in train:
                    assert np.array_equal(keep, store.get(index))
                else:
                    masked_elsewhere += int(not keep.all())
    assert masked_elsewhere > 0


def test_samples_add_up_to_the_figures(finished: tuple[Result, Recorder]) -> None:
    result, recorder = finished
    split = np.array([name for batch in recorder.samples for name in batch.split])
    label = joined(recorder.samples, "label")
    for column, evaluation in (("predicted_before", result.erm), ("predicted_after", result.masktune)):
        predicted = joined(recorder.samples, column)
        for name, figures in evaluation.splits.items():
            assert (predicted == label)[split == name].mean() == pytest.approx(figures.accuracy)


def test_maps_are_half_precision_on_the_cam_grid(finished: tuple[Result, Recorder]) -> None:
    for column in ("cam_before", "cam_after"):
        cams = joined(finished[1].samples, column)
        assert cams.dtype == np.float16
        assert cams.shape[1:] == (8, 8)
        assert np.isfinite(cams).all()
        assert (cams.max(axis=(1, 2)) > 0).mean() > 0.9


def test_final_rows_follow_the_conventions(finished: tuple[Result, Recorder]) -> None:
    result, recorder = finished
    for iteration, evaluation in ((0, result.erm), (1, result.masktune)):
        for split, figures in evaluation.splits.items():
            place: dict[str, Any] = {"stage": "evaluating", "iteration": iteration, "split": split}
            assert recorder.value("accuracy", **place) == figures.accuracy
            assert recorder.value("worst_group_accuracy", **place) == figures.worst_group_accuracy
            assert recorder.value("worst_class_accuracy", **place) == figures.worst_class_accuracy
            assert recorder.value("ece", **place) == figures.ece
            for group in figures.groups:
                assert recorder.value("accuracy", group=group.name, **place) == group.accuracy
                assert recorder.value("accuracy_low", group=group.name, **place) == group.low
    rows = [(m.stage, m.iteration, m.epoch, m.split, m.group, m.name) for m in recorder.metrics]
    assert len(rows) == len(set(rows))
    assert result.metrics == tuple(recorder.metrics)


def test_an_empty_group_is_null_in_the_metrics(finished: tuple[Result, Recorder]) -> None:
    empty = [m for m in finished[1].metrics if m.split == "test:original" and m.group and "yes" in m.group]
    final = [m for m in empty if m.name == "accuracy"]
    assert final
    assert all(m.value is None and m.count == 0 for m in final)


def test_the_reject_option_stands_with_its_realised_coverage(finished: tuple[Result, Recorder]) -> None:
    result, recorder = finished
    for score in ("product", "erm", "masktune"):
        for split in ("val", "test:original", "test:biased"):
            place: dict[str, Any] = {"stage": "evaluating", "iteration": 1, "split": split}
            aurc = recorder.value(f"selective.{score}.aurc", **place)
            assert aurc is not None
            assert 0 <= aurc <= 1
            for target in ("1", "0.95", "0.9", "0.85"):
                coverage = recorder.value(f"selective.{score}.coverage@{target}", **place)
                assert coverage is not None
                assert split != "val" or coverage >= float(target)
                recorder.value(f"selective.{score}.risk@{target}", group="0-4 · square=no", **place)
    assert set(result.selective) == {"product", "erm", "masktune"}


def test_files_are_complete_and_named_by_their_hashes(finished: tuple[Result, Recorder], small_biased: Dataset) -> None:
    result = finished[0]
    assert sorted(result.artifacts) == ["config.json", "erm.safetensors", "masktune.safetensors", "result.json"]
    report = json.loads(result.artifacts["result.json"].read_text())
    for name, sha256 in report["manifest"]["checkpoints"].items():
        assert hashlib.sha256(result.artifacts[name].read_bytes()).hexdigest() == sha256
    assert report["manifest"] == result.manifest
    assert report["manifest"]["dataset_sha256"] == small_biased.sha256
    assert report["manifest"]["finetune_lr"] == 0.01
    assert report["manifest"]["pretrained_weights"] is None
    assert report["masktune"]["test:biased"]["accuracy"] == result.masktune.splits["test:biased"].accuracy
    assert JobConfig.model_validate_json(result.artifacts["config.json"].read_text()) == result.config


def test_a_downloaded_checkpoint_evaluates_to_the_same_numbers(
    finished: tuple[Result, Recorder], small_biased: Dataset
) -> None:
    result = finished[0]
    config = load_checkpoint(result.artifacts["masktune.safetensors"]).config
    assert config is not None
    with Loader(small_biased, config.input, device=torch.device("cpu")) as loader:
        for name, expected in (("erm.safetensors", result.erm), ("masktune.safetensors", result.masktune)):
            model = restore_model(result.artifacts[name])
            found = evaluate(model, loader, small_biased, batch_size=config.masking.batch_size)
            assert found == expected


def test_counts_images_with_nothing_masked(
    finished: tuple[Result, Recorder], small_biased: Dataset, folder: Path
) -> None:
    with MaskStore.open(folder / "masks.bin") as store:
        fractions = store.masked_fraction(small_biased.splits["train"])
    place: dict[str, Any] = {"stage": "masking", "iteration": 1, "split": "train"}
    assert finished[1].value("unmasked_images", **place) == (fractions == 0).sum()
    assert finished[1].value("masked_fraction", **place) == pytest.approx(fractions.mean(), rel=1e-5)
