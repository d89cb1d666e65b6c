"""What each option changes, and what no option may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from masktune_core.checkpoint import load_checkpoint, restore_model
from masktune_core.data.dataset import Dataset
from masktune_core.errors import ArchitectureError, CheckpointError, ConfigError
from masktune_core.evaluation import SplitEvaluation
from masktune_core.intake.normalise import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.mask_store import MaskStore
from masktune_core.models import build_model
from masktune_core.pipeline import Result, mask_training, run
from masktune_core.pipeline.epochs import run_epoch
from masktune_core.pipeline.session import Session
from masktune_core.saliency import METHODS
from tests.masktune_core.recorder import Recorder, checkpoint_bytes, joined
from tests.masktune_core.small_runs import configured, go

Keep = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def tiny_masks(tiny_biased: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Keep:
    """What XGrad-CAM leaves of the tiny data set's training images, (N, 28, 28)."""
    folder = tmp_path_factory.mktemp("tiny")
    go(tiny_biased, folder)
    with MaskStore.open(folder / "masks.bin") as store:
        return np.stack(list(store.get_each(tiny_biased.splits["train"])))


@pytest.mark.parametrize(("workers", "cache_mib"), [(1, 2048), (2, 0), (5, 0), (5, 2048)])
def test_the_same_seed_gives_the_same_bytes_whatever_the_loader_and_the_caller_do(
    small_biased: Dataset,
    tmp_path: Path,
    finished: tuple[Result, Recorder],
    folder: Path,
    workers: int,
    cache_mib: int,
) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    runtime = {"loader_workers": workers, "cache_mib": cache_mib, "resume_minutes": 0.001}
    go(small_biased, tmp_path, {"runtime": runtime, "limits": {"max_attempts": 7}})
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
        {"masking": {"target": "label"}},
        {"masking": {"k": 1.0}},
        {"masking": {"fill": "mean"}},
        {"masking": {"fill": "blur"}},
        {"masking": {"strategy": "random_mask"}},
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


@pytest.mark.parametrize("method", [method for method in METHODS if method != "xgradcam"])
def test_every_saliency_method_masks_something_else(
    tiny_biased: Dataset, tmp_path: Path, tiny_masks: Keep, method: str
) -> None:
    result, recorder = go(tiny_biased, tmp_path, {"masking": {"saliency": method}})
    assert len(joined(recorder.samples, "index")) == len(tiny_biased)
    assert result.masktune.splits["test:biased"].count == 8
    with MaskStore.open(tmp_path / "masks.bin") as store:
        masks = np.stack(list(store.get_each(tiny_biased.splits["train"])))
    assert not masks.all()
    assert not np.array_equal(masks, tiny_masks)


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
    _, recorder = go(small_biased, tmp_path, {"masking": {"strategy": "random_mask"}})
    place: dict[str, Any] = {"stage": "masking", "iteration": 1, "split": "train"}
    ours, reference = (r.value("masked_fraction", **place) for r in (recorder, finished[1]))
    assert ours == pytest.approx(reference, rel=1e-6)


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


@pytest.mark.parametrize("worst", ["worst_group", "worst_class"])
def test_the_best_epoch_goes_on(small_biased: Dataset, tmp_path: Path, worst: str) -> None:
    # a seed with which the score falls again before the last epoch, and not for groups when it does for classes
    erm = {"epochs": 6, "select": f"best_{worst}", "early_stopping_epochs": 2, "optimizer": {"lr": 0.05}}
    result, recorder = go(small_biased, tmp_path, {"seed": 2, "erm": erm})
    rows = [m for m in recorder.metrics if m.stage == "training_erm" and m.name == f"{worst}_accuracy"]
    scores = [m.value or 0.0 for m in rows]
    best = scores.index(max(scores)) + 1
    assert result.manifest["erm_selected_epoch"] == best
    assert len(scores) == min(6, best + 2)
    assert getattr(result.erm.splits["val"], f"{worst}_accuracy") == max(scores)


@pytest.mark.parametrize("select", ["last", "best_accuracy"])
def test_finetuning_begins_with_weights_and_momentum_of_the_chosen_epoch(
    small_biased: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str
) -> None:
    def now(session: Session) -> list[torch.Tensor]:
        momenta = [state["momentum_buffer"] for state in session.trainer.optimizer.state_dict()["state"].values()]
        assert momenta
        return [value.clone() for value in (*session.model.state_dict().values(), *momenta)]

    def erm_epoch(session: Session, *, epochs: int, lr: float) -> SplitEvaluation | None:
        validation = run_epoch(session, epochs=epochs, lr=lr)
        assert validation is not None
        ends.append((validation.accuracy or 0.0, now(session)))
        return validation

    def finetuning_epoch(session: Session, *, epochs: int, lr: float) -> SplitEvaluation | None:
        begins.append(now(session))
        return run_epoch(session, epochs=epochs, lr=lr)

    ends: list[tuple[float, list[torch.Tensor]]] = []
    begins: list[list[torch.Tensor]] = []
    monkeypatch.setattr("masktune_core.pipeline.erm.run_epoch", erm_epoch)
    monkeypatch.setattr("masktune_core.pipeline.finetune.run_epoch", finetuning_epoch)
    # a rate at which the accuracy falls again before the last epoch
    go(small_biased, tmp_path, {"seed": 2, "erm": {"epochs": 6, "select": select, "optimizer": {"lr": 0.05}}})
    accuracies = [accuracy for accuracy, _ in ends]
    best = accuracies.index(max(accuracies))
    assert best < 5, "or the two choices are the same"
    chosen = best if select == "best_accuracy" else 5
    assert [torch.equal(*pair) for pair in zip(begins[0], ends[chosen][1], strict=True)] == [True] * len(begins[0])


def test_without_a_folder_for_it_a_run_makes_one_that_stays(
    tiny_biased: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run(configured({"erm": {"epochs": 1}}), tiny_biased)
    (made,) = tmp_path.iterdir()
    assert {path.parent for path in result.artifacts.values()} == {made / "out"}
    assert all(path.is_file() for path in result.artifacts.values())


def test_the_manifest_names_the_weights_that_training_started_from(
    tiny_biased: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(architecture: str, classes: int, pretrained: bool = False) -> nn.Module:
        fetched.append(pretrained)
        return build_model(architecture, classes)

    fetched: list[bool] = []
    monkeypatch.setattr("masktune_core.pipeline.execution.build_model", build)
    config = {
        "model": {"architecture": "timm/test_resnet", "pretrained": True},
        "input": {"size": 64},
        "erm": {"epochs": 1},
    }
    result, _ = go(tiny_biased, tmp_path / "first", config)
    assert (fetched, result.manifest["pretrained_weights"]) == ([True], "test_resnet.r160_in1k")
    state = load_checkpoint(result.artifacts["erm.safetensors"]).state
    again = run(configured(config), tiny_biased, work_dir=tmp_path / "again", initial_state=state)
    assert (fetched, again.manifest["pretrained_weights"]) == ([True, False], None)


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


def test_a_round_that_masks_nothing_new_says_so_and_does_not_say_that_nothing_is_masked(
    small_biased: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mask_training.make_masks

    def only_at_first(*arguments: Any, iteration: int) -> Any:
        masks = made(*arguments, iteration=1)
        return masks if iteration == 1 else [np.ones_like(mask) for mask in masks]

    monkeypatch.setattr(mask_training, "make_masks", only_at_first)
    _, recorder = go(small_biased, tmp_path, {"masking": {"iterations": 2}})
    first, second = (recorder.value("unmasked_images", stage="masking", iteration=n, split="train") for n in (1, 2))
    assert first == second != 200
    assert "nothing_new_masked" in recorder.warnings
    assert "nothing_masked" not in recorder.warnings
