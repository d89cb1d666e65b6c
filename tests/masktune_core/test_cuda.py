"""What only a GPU can show: `pytest -m cuda`. Without one, these are skipped.

torch warns of kernels whose repeatability it does not promise; that they repeat here is what the tests look at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from masktune_core.config import InputConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Batch, Loader
from masktune_core.errors import Interrupted, OutOfGpuMemory
from masktune_core.masking import keep_mask, upsample_cams
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.pipeline import run
from masktune_core.precision import full_precision
from masktune_core.saliency import compute_cams, explain
from masktune_core.training import EpochSums, Trainer, gpu_memory
from tests.masktune_core.recorder import Recorder, checkpoint_bytes
from tests.masktune_core.small_runs import configured

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("default"),
]
GPU = torch.device("cuda")
ON_GPU: dict[str, Any] = {"runtime": {"device": "cuda"}}


@pytest.fixture(scope="module", autouse=True)
def _exact_arithmetic() -> Iterator[None]:
    """No TF32, whose ten bits are not what is tested here, and what cuBLAS needs to repeat itself."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with full_precision():
        yield


def test_convolutions_have_the_digits_of_float32() -> None:
    images, convolution = torch.rand(4, 16, 32, 32, device=GPU), nn.Conv2d(16, 16, 3).to(GPU)
    exact = convolution.double()(images.double())
    assert float((convolution.float()(images) - exact).abs().max()) < 1e-5  # with TF32 it would be 1e-4 and more


def network(architecture: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(architecture, 4).eval()


def pictures(count: int, size: int) -> Tensor:
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0.0, 1.0)


def trained(precision: str, *, channels_last: bool, steps: int = 12) -> tuple[Trainer, list[float]]:
    """ResNet-18 on one batch again and again; the trainer, and the mean loss of each step."""
    runtime = {"device": "cuda", "precision": precision, "channels_last": channels_last}
    config = resolve_config(None, {"runtime": runtime, "erm": {"batch_size": 16}})
    model = network("resnet18").to(GPU)
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    trainer = Trainer(model.train(), make_optimizer(model.parameters(), config.erm.optimizer), config, GPU)
    label = torch.arange(16, device=GPU) % 4
    batch, losses = Batch(torch.arange(16), pictures(16, 64).to(GPU), label), []
    for _ in range(steps):
        sums = EpochSums.zero(GPU)
        trainer.step(batch, sums)
        losses.append(sums.means()[0])
    return trainer, losses


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_full_precision_does(precision: str, channels_last: bool) -> None:
    _, full = trained("fp32", channels_last=False)
    trainer, half = trained(precision, channels_last=channels_last)
    assert half[0] == pytest.approx(full[0], rel=0.05)
    assert half[-1] < 0.7 * half[0]
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    trainer.require_finite_weights("here")


@pytest.mark.parametrize(
    ("architecture", "size"), [("small_cnn", 28), ("resnet18", 96), ("timm/vit_tiny_patch16_224", 224)]
)
@pytest.mark.parametrize("method", ["xgradcam", "layercam", "eigencam"])
def test_maps_and_masks_are_those_of_the_cpu(architecture: str, size: int, method: str) -> None:
    model, images = network(architecture), pictures(6, size)
    expected = compute_cams(model, images, method=method)
    found = compute_cams(model.to(GPU), images.to(GPU), method=method)
    assert found.device.type == "cuda"
    difference = (upsample_cams(found, size).cpu() - upsample_cams(expected, size)).abs()
    assert float(difference.max()) <= 1e-3
    assert float((keep_mask(found, size).cpu() == keep_mask(expected, size)).float().mean()) >= 0.999


def test_maps_do_not_depend_on_the_memory_format() -> None:
    model, images = network("resnet18").to(GPU), pictures(6, 96).to(GPU)
    expected = upsample_cams(compute_cams(model, images), 96)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    found = upsample_cams(compute_cams(model, images.contiguous(memory_format=torch.channels_last)), 96)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-3)


def test_maps_under_autocast_are_near_those_of_full_precision() -> None:
    model, images = network("resnet18").to(GPU), pictures(6, 96).to(GPU)
    expected = upsample_cams(compute_cams(model, images), 96)
    with torch.autocast("cuda", torch.bfloat16):
        found = compute_cams(model, images)
    assert found.dtype == torch.float32
    assert float((upsample_cams(found, 96) - expected).abs().mean()) <= 0.05


def test_batches_on_the_gpu_are_those_on_the_cpu(small_biased: Dataset) -> None:
    config = InputConfig(size=24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    train = small_biased.splits["train"]
    with (
        Loader(small_biased, config, device=GPU) as ours,
        Loader(small_biased, config, device=torch.device("cpu")) as cpu,
    ):
        pairs = zip(
            ours.train_epoch(train, seed=1, epoch=1, batch_size=64),
            cpu.train_epoch(train, seed=1, epoch=1, batch_size=64),
            strict=True,
        )
        for found, expected in pairs:
            assert found.image.device.type == found.label.device.type == "cuda"
            assert torch.equal(found.index, expected.index)
            assert torch.equal(found.label.cpu(), expected.label)
            torch.testing.assert_close(found.image.cpu(), expected.image)


def test_the_same_seed_gives_the_same_bytes_on_one_device_interrupted_or_not(
    small_biased: Dataset, tmp_path: Path
) -> None:
    config = configured(ON_GPU)
    for name in ("first", "second"):
        run(config, small_biased, work_dir=tmp_path / name)
    assert checkpoint_bytes(tmp_path / "first") == checkpoint_bytes(tmp_path / "second")
    stopped = Recorder(stop_at=9)
    with pytest.raises(Interrupted):
        run(config, small_biased, work_dir=tmp_path / "stopped", callbacks=stopped)
    workers = configured({"runtime": {"device": "cuda", "loader_workers": 3}})
    run(workers, small_biased, work_dir=tmp_path / "resumed", resume=stopped.points[-1].path)
    assert checkpoint_bytes(tmp_path / "resumed") == checkpoint_bytes(tmp_path / "first")


def test_a_run_in_bf16_with_channels_last_goes_through(small_biased: Dataset, tmp_path: Path) -> None:
    runtime = {"device": "cuda", "precision": "bf16", "channels_last": True}
    result = run(configured({"runtime": runtime}), small_biased, work_dir=tmp_path)
    assert result.manifest["device_type"] == "cuda"
    assert result.manifest["device_name"] == torch.cuda.get_device_name(GPU)


def peak_bytes(work: Callable[[], None]) -> int:
    """The most memory allocated while `work` runs, above what was allocated before."""
    torch.cuda.synchronize(GPU)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(GPU)
    before = torch.cuda.memory_allocated(GPU)
    work()
    torch.cuda.synchronize(GPU)
    return torch.cuda.max_memory_allocated(GPU) - before


def test_explaining_takes_little_more_memory_than_inference_and_does_not_add_up() -> None:
    model, images = network("resnet50").to(GPU), pictures(16, 224).to(GPU)

    def infer() -> None:
        with torch.inference_mode():
            model(images)

    def mask(batches: int) -> None:
        for _ in range(batches):
            keep_mask(explain(model, images).cams, 224).cpu()

    infer()  # cuDNN takes its workspaces
    mask(1)
    inference, one, many = peak_bytes(infer), peak_bytes(lambda: mask(1)), peak_bytes(lambda: mask(8))
    assert one <= 1.25 * inference
    assert many <= 1.05 * one


def test_a_batch_that_does_not_fit_says_what_to_lower() -> None:
    free, _ = torch.cuda.mem_get_info(GPU)
    with pytest.raises(OutOfGpuMemory, match=r"lower masking\.batch_size"), gpu_memory("masking"):
        torch.empty(2 * free, dtype=torch.uint8, device=GPU)
