"""One optimizer step: gradients, sums, and what it does when it cannot go on."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masktune_core.config import JobConfig, RuntimeConfig, resolve_config
from masktune_core.errors import Activity, ConfigError, OutOfGpuMemory, TrainingDiverged
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.training import EpochSums, Trainer, gpu_memory, resolve_device, train_epoch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Images:
    image: Tensor
    label: Tensor


def batch(count: int = 12, seed: int = 0, size: int = 8) -> Images:
    generator = torch.Generator().manual_seed(seed)
    return Images(
        torch.rand(count, 3, size, size, generator=generator), torch.randint(0, 2, (count,), generator=generator)
    )


def plain_model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def trainer_of(model: nn.Module, changes: dict[str, Any] | None = None) -> Trainer:
    config = resolve_config(None, changes)
    return Trainer(model, make_optimizer(model.parameters(), config.erm.optimizer), config, CPU)


def after_step(changes: dict[str, Any], images: Images) -> list[Tensor]:
    model = plain_model()
    trainer_of(model, changes).step(images, EpochSums.zero(CPU))
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_a_step_is_torchs_own_with_the_mean_loss() -> None:
    images, model = batch(), plain_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    loss = F.cross_entropy(model(images.image), images.label, label_smoothing=0.2)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own
    optimizer.step()
    for ours, reference in zip(after_step({"erm": {"label_smoothing": 0.2}}, images), model.parameters(), strict=True):
        torch.testing.assert_close(ours, reference.detach())


@pytest.mark.parametrize("micro_batch", [1, 5, 12, 100])
def test_accumulated_gradients_are_those_of_the_whole_batch(micro_batch: int) -> None:
    images = batch()
    whole = after_step({}, images)
    for ours, reference in zip(after_step({"runtime": {"micro_batch": micro_batch}}, images), whole, strict=True):
        torch.testing.assert_close(ours, reference)


def test_channels_last_changes_the_layout_not_the_step() -> None:
    images = batch()
    whole = after_step({}, images)
    for ours, reference in zip(after_step({"runtime": {"channels_last": True}}, images), whole, strict=True):
        torch.testing.assert_close(ours, reference)


def test_a_compiled_model_makes_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend="aot_eager"))  # needs no C++ compiler
    images = batch()
    for ours, reference in zip(after_step({"runtime": {"compile": True}}, images), after_step({}, images), strict=True):
        torch.testing.assert_close(ours, reference)


def test_a_model_that_cannot_be_compiled_is_a_matter_of_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no C++ compiler")

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend=broken))
    trainer = trainer_of(plain_model(), {"runtime": {"compile": True}})

    def batches(start: int) -> Generator[Images, None, None]:
        yield batch()

    with pytest.raises(ConfigError, match=r"runtime\.compile.*no C\+\+ compiler.*set it to false"):
        train_epoch(
            trainer,
            batches,
            EpochSums.zero(CPU),
            steps=1,
            start_step=0,
            seed=0,
            where="ERM, epoch 1",
            before_step=lambda step: None,
        )


def test_sums_weight_images_not_batches() -> None:
    model, sums = plain_model(), EpochSums.zero(CPU)
    trainer = trainer_of(model, {"erm": {"optimizer": {"lr": 1e-12}}})
    large, small = batch(30, seed=1), batch(3, seed=2)
    trainer.step(large, sums)
    trainer.step(small, sums)
    images, labels = torch.cat([large.image, small.image]), torch.cat([large.label, small.label])
    logits = model(images).detach()
    loss, accuracy = sums.means()
    assert loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)
    assert accuracy == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert sums.images == 33


def test_a_last_batch_of_one_image_is_left_out_with_batch_norm() -> None:
    model = build_model("small_cnn", 2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    sums = EpochSums.zero(CPU)
    trainer_of(model).step(batch(1, size=28), sums)
    assert sums.images == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_no_micro_batch_is_left_with_one_image_under_batch_norm() -> None:
    sums = EpochSums.zero(CPU)
    trainer_of(build_model("small_cnn", 2), {"runtime": {"micro_batch": 2}}).step(batch(5, size=28), sums)
    assert sums.images == 5


@pytest.mark.parametrize("changes", [{"erm": {"batch_size": 1}}, {"runtime": {"micro_batch": 1}}])
def test_batch_norm_over_single_images_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at least 2 images per pass"):
        trainer_of(build_model("small_cnn", 2), changes)


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step() -> None:
    model = plain_model()
    trainer = trainer_of(model)

    def batches(start: int) -> Generator[Images, None, None]:
        yield batch()
        yield Images(torch.full((4, 3, 8, 8), torch.inf), torch.zeros(4, dtype=torch.int64))
        yield batch()

    with pytest.raises(TrainingDiverged, match=r"step 2 of 3 of ERM, epoch 1.*lower erm.optimizer.lr \(now 0.01\)"):
        train_epoch(
            trainer,
            batches,
            EpochSums.zero(CPU),
            steps=3,
            start_step=0,
            seed=0,
            where="ERM, epoch 1",
            before_step=lambda step: None,
        )


def test_weights_that_are_not_finite_after_the_last_step_are_noticed() -> None:
    model = plain_model()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingDiverged, match=r"0\.weight is not finite after finetuning"):
        trainer_of(model).require_finite_weights("after finetuning")


@pytest.mark.parametrize(
    ("activity", "way_out"), [("training", "runtime.micro_batch"), ("masking", "masking.batch_size")]
)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_out_of_gpu_memory_names_the_way_out(activity: Activity, way_out: str, error: Exception) -> None:
    with pytest.raises(OutOfGpuMemory, match=way_out) as raised, gpu_memory(activity):
        raise error
    assert raised.value.activity == activity


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("CUDA out of memory"), MemoryError()])
def test_any_other_error_passes_through(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, gpu_memory("training"):
        raise error
    assert raised.value is error


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens on a machine without CUDA")
class TestWithoutCuda:
    def test_auto_is_the_cpu(self) -> None:
        assert resolve_device(RuntimeConfig()).type == "cpu"

    def test_cuda_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="no usable CUDA device"):
            resolve_device(RuntimeConfig(device="cuda"))

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    @pytest.mark.parametrize("device", ["auto", "cpu"])
    def test_half_precision_is_refused(self, precision: str, device: str) -> None:
        runtime = RuntimeConfig.model_validate({"precision": precision, "device": device})
        with pytest.raises(ConfigError, match=f"{precision} needs a CUDA device"):
            resolve_device(runtime)


def test_dropout_depends_on_the_step_alone() -> None:
    def weights(draws_before: int) -> list[Tensor]:
        model = nn.Sequential(plain_model(), nn.Dropout(0.5))
        trainer = trainer_of(model)

        def batches(start: int) -> Generator[Images, None, None]:
            for step in range(start, 3):
                torch.rand(draws_before)  # a callback or a library that uses the global generator
                yield batch(seed=step)

        train_epoch(
            trainer,
            batches,
            EpochSums.zero(CPU),
            steps=3,
            start_step=0,
            seed=7,
            where="ERM, epoch 1",
            before_step=lambda step: None,
        )
        return [parameter.detach() for parameter in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(0), weights(5), strict=True))


def test_every_config_default_builds_a_trainer() -> None:
    assert trainer_of(plain_model()).batch_size == JobConfig().erm.batch_size
