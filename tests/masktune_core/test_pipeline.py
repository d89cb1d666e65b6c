"""What a run does, tells and leaves behind."""

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
from masktune_core.config import JobConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.errors import ArchitectureError, CheckpointError, ConfigError
from masktune_core.evaluation import evaluate
from masktune_core.intake.normalise import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.mask_store import MaskStore
from masktune_core.pipeline import Result, run
from tests.masktune_core.recorder import Recorder, checkpoint_bytes, joined

SMALL: dict[str, Any] = {"erm": {"epochs": 2, "batch_size": 64}, "masking": {"batch_size": 50}}


def configured(changes: dict[str, Any] | None = None) -> JobConfig:
    merged: dict[str, Any] = {key: dict(value) for key, value in SMALL.items()}
    for part, values in (changes or {}).items():
        merged[part] = {**merged.get(part, {}), **values} if isinstance(values, dict) else values
    return resolve_config("biased_mnist", merged)


def go(dataset: Dataset, folder: Path, changes: dict[str, Any] | None = None) -> tuple[Result, Recorder]:
    recorder = Recorder()
    return run(configured(changes), dataset, work_dir=folder, callbacks=recorder), recorder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def finished(small_biased: Dataset, folder: Path) -> tuple[Result, Recorder]:
    return go(small_biased, folder)


class TestADefaultRun:
    def test_goes_through_the_stages_in_order(self, finished: tuple[Result, Recorder]) -> None:
        assert finished[1].stages == [
            ("preparing", 0),
            ("training_erm", 0),
            ("masking", 1),
            ("finetuning", 1),
            ("evaluating", 0),
        ]

    def test_reports_every_epoch_with_its_validation_and_rate(self, finished: tuple[Result, Recorder]) -> None:
        epochs = finished[1].epochs
        assert [(e.stage, e.iteration, e.epoch, e.epochs) for e in epochs] == [
            ("training_erm", 0, 1, 2),
            ("training_erm", 0, 2, 2),
            ("finetuning", 1, 1, 1),
        ]
        assert all(e.lr == 0.01 and e.val_accuracy is not None and 0 < e.loss < 5 for e in epochs)

    def test_reports_progress_up_to_the_last_step_of_every_pass(self, finished: tuple[Result, Recorder]) -> None:
        last = {(p.stage, p.epoch): p for p in finished[1].progress}
        assert {key: (p.step, p.steps) for key, p in last.items()} == {
            ("training_erm", 1): (4, 4),
            ("training_erm", 2): (4, 4),
            ("masking", 1): (4, 4),
            ("finetuning", 1): (4, 4),
            ("evaluating", 1): (8, 8),
        }
        assert all(p.images_per_second > 0 for p in last.values())

    def test_hands_out_every_image_of_every_split_once(
        self, finished: tuple[Result, Recorder], small_biased: Dataset
    ) -> None:
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
        self, finished: tuple[Result, Recorder], small_biased: Dataset, folder: Path
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

    def test_samples_add_up_to_the_figures(self, finished: tuple[Result, Recorder]) -> None:
        result, recorder = finished
        split = np.array([name for batch in recorder.samples for name in batch.split])
        label = joined(recorder.samples, "label")
        for column, evaluation in (("predicted_before", result.erm), ("predicted_after", result.masktune)):
            predicted = joined(recorder.samples, column)
            for name, figures in evaluation.splits.items():
                assert (predicted == label)[split == name].mean() == pytest.approx(figures.accuracy)

    def test_maps_are_half_precision_on_the_cam_grid(self, finished: tuple[Result, Recorder]) -> None:
        for column in ("cam_before", "cam_after"):
            cams = joined(finished[1].samples, column)
            assert cams.dtype == np.float16
            assert cams.shape[1:] == (8, 8)
            assert np.isfinite(cams).all()
            assert (cams.max(axis=(1, 2)) > 0).mean() > 0.9

    def test_final_rows_follow_the_conventions(self, finished: tuple[Result, Recorder]) -> None:
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

    def test_an_empty_group_is_null_in_the_metrics(self, finished: tuple[Result, Recorder]) -> None:
        empty = [m for m in finished[1].metrics if m.split == "test:original" and m.group and "yes" in m.group]
        final = [m for m in empty if m.name == "accuracy"]
        assert final
        assert all(m.value is None and m.count == 0 for m in final)

    def test_the_reject_option_stands_with_its_realised_coverage(self, finished: tuple[Result, Recorder]) -> None:
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

    def test_files_are_complete_and_named_by_their_hashes(
        self, finished: tuple[Result, Recorder], small_biased: Dataset
    ) -> None:
        result = finished[0]
        assert sorted(result.artifacts) == ["config.json", "erm.safetensors", "masktune.safetensors", "result.json"]
        report = json.loads(result.artifacts["result.json"].read_text())
        for name, sha256 in report["manifest"]["checkpoints"].items():
            assert hashlib.sha256(result.artifacts[name].read_bytes()).hexdigest() == sha256
        assert report["manifest"] == result.manifest
        assert report["manifest"]["dataset_sha256"] == small_biased.sha256
        assert report["manifest"]["finetune_lr"] == 0.01
        assert report["masktune"]["test:biased"]["accuracy"] == result.masktune.splits["test:biased"].accuracy
        assert JobConfig.model_validate_json(result.artifacts["config.json"].read_text()) == result.config

    def test_a_downloaded_checkpoint_evaluates_to_the_same_numbers(
        self, finished: tuple[Result, Recorder], small_biased: Dataset
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
        self, finished: tuple[Result, Recorder], small_biased: Dataset, folder: Path
    ) -> None:
        with MaskStore.open(folder / "masks.bin") as store:
            fractions = store.masked_fraction(small_biased.splits["train"])
        place: dict[str, Any] = {"stage": "masking", "iteration": 1, "split": "train"}
        assert finished[1].value("unmasked_images", **place) == (fractions == 0).sum()
        assert finished[1].value("masked_fraction", **place) == pytest.approx(fractions.mean(), rel=1e-5)


def test_the_same_seed_gives_the_same_bytes_whatever_the_loader_and_the_caller_do(
    small_biased: Dataset, tmp_path: Path, finished: tuple[Result, Recorder], folder: Path
) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    changes = {"runtime": {"loader_workers": 3, "cache_mib": 0, "resume_minutes": 0.001}, "limits": {"max_attempts": 7}}
    go(small_biased, tmp_path, changes)
    assert checkpoint_bytes(tmp_path) == checkpoint_bytes(folder)
    assert checkpoint_bytes(tmp_path, "erm.safetensors") == checkpoint_bytes(folder, "erm.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_gives_another_checkpoint(small_biased: Dataset, tmp_path: Path, folder: Path) -> None:
    go(small_biased, tmp_path, {"seed": 1})
    assert checkpoint_bytes(tmp_path) != checkpoint_bytes(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"erm": {"optimizer": {"name": "adam", "lr": 0.001}}},
        {"erm": {"optimizer": {"name": "adamw", "lr": 0.001}}},
        {"erm": {"label_smoothing": 0.1}},
        {"masking": {"saliency": "gradcam"}},
        {"masking": {"target": "label"}},
        {"masking": {"k": 1.0}},
        {"masking": {"fill": "mean"}},
        {"masking": {"fill": "blur"}},
        {"masking": {"strategy": "random"}},
        {"masking": {"strategy": "none"}},
        {"finetune": {"lr": 0.001}},
        {"finetune": {"epochs": 2}},
        {"runtime": {"micro_batch": 16}},
        {"model": {"cam_layer": "backbone.9"}},
        {"input": {"augment": {"translate": 0.1}}},
    ],
    ids=str,
)
def test_an_option_changes_the_weights(
    small_biased: Dataset, tmp_path: Path, folder: Path, finished: tuple[Result, Recorder], changes: dict[str, Any]
) -> None:
    go(small_biased, tmp_path, changes)
    ours = load_checkpoint(tmp_path / "out" / "masktune.safetensors").state
    default = load_checkpoint(folder / "out" / "masktune.safetensors").state
    assert any(not torch.equal(value, default[name]) for name, value in ours.items())


def test_channels_last_is_about_layout_and_its_checkpoint_is_like_any_other(
    small_biased: Dataset, tmp_path: Path, finished: tuple[Result, Recorder]
) -> None:
    result, recorder = go(small_biased, tmp_path, {"runtime": {"channels_last": True}})
    assert recorder.epochs[0].loss == pytest.approx(finished[1].epochs[0].loss, rel=0.02)
    assert restore_model(result.artifacts["masktune.safetensors"]) is not None


def test_finetuning_goes_on_at_the_rate_erm_ended_with(small_biased: Dataset, tmp_path: Path) -> None:
    schedule = {"name": "multi_step", "milestones": [1], "gamma": 0.1}
    result, recorder = go(small_biased, tmp_path, {"erm": {"schedule": schedule}})
    assert [e.lr for e in recorder.epochs] == pytest.approx([0.01, 0.001, 0.001])
    assert result.manifest["finetune_lr"] == pytest.approx(0.001)


def test_random_masks_have_the_area_of_the_saliency_masks(
    small_biased: Dataset, tmp_path: Path, finished: tuple[Result, Recorder]
) -> None:
    _, recorder = go(small_biased, tmp_path, {"masking": {"strategy": "random"}})
    place: dict[str, Any] = {"stage": "masking", "iteration": 1, "split": "train"}
    ours, reference = (r.value("masked_fraction", **place) for r in (recorder, finished[1]))
    assert ours == pytest.approx(reference, rel=0.15)
    with MaskStore.open(tmp_path / "masks.bin") as store:
        masked = ~store.get(int(small_biased.splits["train"][0]))
    rows, columns = np.flatnonzero(masked.any(axis=1)), np.flatnonzero(masked.any(axis=0))
    assert masked.sum() == len(rows) * len(columns)


def test_without_masking_every_image_counts_as_unmasked(small_biased: Dataset, tmp_path: Path) -> None:
    _, recorder = go(small_biased, tmp_path, {"masking": {"strategy": "none"}})
    assert recorder.value("unmasked_images", stage="masking", iteration=1, split="train") == 200
    assert not joined(recorder.samples, "masked_fraction").any()
    assert "nothing_masked" not in recorder.warnings


def test_a_threshold_that_masks_nothing_is_warned_about(small_biased: Dataset, tmp_path: Path) -> None:
    _, recorder = go(small_biased, tmp_path, {"masking": {"k": 10.0}})
    assert "nothing_masked" in recorder.warnings


@pytest.mark.parametrize("cumulative", [False, True])
def test_rounds_repeat_masking_and_finetuning(small_biased: Dataset, tmp_path: Path, cumulative: bool) -> None:
    result, recorder = go(small_biased, tmp_path, {"masking": {"iterations": 3, "cumulative": cumulative}})
    assert recorder.stages[2:-1] == [(stage, n) for n in (1, 2, 3) for stage in ("masking", "finetuning")]
    assert len(result.rounds) == 3
    assert result.rounds[-1] == result.masktune
    for iteration in (0, 1, 2, 3):
        recorder.value("accuracy", stage="evaluating", iteration=iteration, split="test:biased")
    fractions = [recorder.value("masked_fraction", stage="masking", iteration=n, split="train") for n in (1, 2, 3)]
    if cumulative:
        assert fractions == sorted(fractions, key=lambda value: value or 0.0)
        assert fractions[0] != fractions[2]


def test_the_best_epoch_goes_on_with_its_optimizer_state(small_biased: Dataset, tmp_path: Path) -> None:
    result, recorder = go(
        small_biased,
        tmp_path,
        {"erm": {"epochs": 6, "select": "best_worst_group", "early_stopping_epochs": 2, "optimizer": {"lr": 0.05}}},
    )
    rows = [m for m in recorder.metrics if m.stage == "training_erm" and m.name == "worst_group_accuracy"]
    scores = [m.value or 0.0 for m in rows]
    best = scores.index(max(scores)) + 1
    assert result.manifest["erm_selected_epoch"] == best
    assert len(scores) == min(6, best + 2)
    assert result.erm.splits["val"].worst_group_accuracy == max(scores)


def test_a_given_model_skips_erm_and_is_the_before_model(
    small_biased: Dataset, tmp_path: Path, finished: tuple[Result, Recorder]
) -> None:
    loaded = load_checkpoint(finished[0].artifacts["erm.safetensors"])
    recorder = Recorder()
    result = run(configured(), small_biased, work_dir=tmp_path, callbacks=recorder, initial_state=loaded.state)
    assert [stage for stage, _ in recorder.stages] == ["preparing", "masking", "finetuning", "evaluating"]
    assert result.erm == finished[0].erm
    assert result.manifest["finetune_lr"] == 0.01
    assert result.manifest["initial_state_sha256"]
    assert result.artifacts["erm.safetensors"].exists()


def test_a_given_model_must_fit_and_the_error_names_the_keys(
    small_biased: Dataset, tmp_path: Path, finished: tuple[Result, Recorder]
) -> None:
    state = dict(load_checkpoint(finished[0].artifacts["erm.safetensors"]).state)
    state["extra"] = state.pop("linear.0.bias")
    state["linear.3.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError) as caught:
        run(configured(), small_biased, work_dir=tmp_path, initial_state=state)
    assert (caught.value.missing, caught.value.unexpected, caught.value.misshapen) == (
        ("linear.0.bias",),
        ("extra",),
        ("linear.3.bias",),
    )


def test_a_set_fitted_to_the_last_image_is_warned_about(tmp_path: Path) -> None:
    source = make_biased_mnist(tmp_path / "source.zip", train=120, val=10, test=10, conflicting=0.0)
    normalise(source, tmp_path / "dataset.zip")
    with Dataset.open(tmp_path / "dataset.zip") as dataset:
        result, recorder = go(dataset, tmp_path, {"erm": {"epochs": 6, "batch_size": 16}})
    assert result.erm.splits["train"].accuracy == 1.0
    assert "training_set_fitted" in recorder.warnings


def test_a_model_with_one_answer_is_warned_about(small_biased: Dataset, tmp_path: Path) -> None:
    _, recorder = go(small_biased, tmp_path, {"erm": {"epochs": 1, "optimizer": {"lr": 1e-9}}, "seed": 3})
    answers = set(joined(recorder.samples, "predicted_before").tolist())
    assert ("degenerate_model" in recorder.warnings) == (len(answers) == 1)
    assert len(answers) == 1, "choose a seed whose untrained network has one answer"


def test_a_wrong_cam_layer_or_attribute_shows_before_training(small_biased: Dataset, tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(ArchitectureError, match="no module named"):
        run(configured({"model": {"cam_layer": "layer9"}}), small_biased, work_dir=tmp_path, callbacks=recorder)
    with pytest.raises(ConfigError, match="no attribute"):
        run(configured({"data": {"group_by": "place"}}), small_biased, work_dir=tmp_path, callbacks=recorder)
    assert not recorder.epochs
