"""Running out of a real GPU's memory: `pytest -m cuda`. Without a GPU, these are skipped."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from masktune_core.config import resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.errors import OutOfGpuMemory
from masktune_core.pipeline import run
from tests.masktune_core.recorder import Recorder
from worker.memory import need_less_memory
from worker.reasons import reason_of

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("default"),
]
GPU = torch.device("cuda")
# ResNet-18 on 224 px: training takes some 25 MiB an image, looking without gradients some 10.
LARGE: dict[str, Any] = {
    "model": {"architecture": "resnet18"},
    "input": {"size": 224},
    "erm": {"epochs": 1, "batch_size": 64},
    "finetune": {"epochs": 1},
}


@contextmanager
def small_gpu(mebibytes: int) -> Iterator[None]:
    """Let this process have only so much of the GPU."""
    gc.collect()
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info(GPU)
    torch.cuda.set_per_process_memory_fraction(mebibytes * 2**20 / total, GPU)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
        gc.collect()
        torch.cuda.empty_cache()


@pytest.mark.parametrize(
    ("micro_batch", "pass_batch", "activities"),
    [(None, 8, {"training"}), (8, 512, {"masking", "evaluating"})],
    ids=["training", "looking"],
)
def test_a_run_that_does_not_fit_goes_on_with_smaller_batches_to_the_end(
    small_biased: Dataset, tmp_path: Path, micro_batch: int | None, pass_batch: int, activities: set[str]
) -> None:
    runtime = {"device": "cuda", "micro_batch": micro_batch}
    config = resolve_config("biased_mnist", {**LARGE, "runtime": runtime, "masking": {"batch_size": pass_batch}})
    recorder = Recorder()

    def attempt(number: int) -> OutOfGpuMemory | None:
        resume = recorder.points[-1].path if recorder.points else None
        try:
            run(config, small_biased, work_dir=tmp_path / str(number), callbacks=recorder, resume=resume)
        except OutOfGpuMemory as error:
            return error
        return None

    failed = 0
    with small_gpu(700):
        while (error := attempt(failed)) is not None:
            assert error.activity in activities
            smaller = need_less_memory(config, error.activity)
            assert smaller is not None, "nothing is left to halve"
            config, failed = smaller, failed + 1
    assert failed > 0, "all of it fitted: give the test less memory"
    assert {each.stage for each in recorder.epochs} == {"training_erm", "finetuning"}


def test_a_model_that_does_not_fit_at_all_is_known_for_what_it_is(small_biased: Dataset, tmp_path: Path) -> None:
    config = resolve_config("biased_mnist", {**LARGE, "runtime": {"device": "cuda"}})
    with small_gpu(8), pytest.raises(RuntimeError) as raised:
        run(config, small_biased, work_dir=tmp_path)
    assert not isinstance(raised.value, OutOfGpuMemory), "no batch was under way"
    assert reason_of(raised.value).code == "out_of_gpu_memory"


def test_a_library_below_torch_that_gets_no_memory_is_known_for_what_it_is() -> None:
    held: list[Tensor] = []
    operand = torch.ones(512, 512, device=GPU)
    torch.cuda.synchronize(GPU)
    size = 2**32
    while size >= 2**20:  # nothing is left for anybody else
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device=GPU))
        except torch.OutOfMemoryError:
            size //= 2

    def multiply_in_many_streams() -> None:
        for _ in range(64):  # cuBLAS takes a handle and a workspace for each
            with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]  # torch leaves it unannotated
                held.append(operand @ operand)

    try:
        with pytest.raises(RuntimeError) as raised:
            multiply_in_many_streams()
    finally:
        held.clear()
        torch.cuda.empty_cache()
    assert reason_of(raised.value).code == "out_of_gpu_memory"
