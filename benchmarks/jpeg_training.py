"""A training epoch from an archive of JPEG files against the same model on synthetic batches that lie in memory.

What is between the two is decoding, cropping and resizing, which must not hold the training up.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks._device import device, finished
from benchmarks._photographs import write_photographs
from benchmarks.table import Row, compare
from masktune_core.config import JobConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Batch, Loader
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.randomness import deterministic
from masktune_core.training import EpochSums, Trainer, train_epoch

GOAL = 0.9
_SYNTHETIC_BATCHES = 4  # taken in turn


@dataclass(frozen=True, slots=True)
class Case:
    """`cached`: decoded images stay in memory from the first epoch on, as they do by default; else none does."""

    architecture: str
    images: int
    quick_images: int
    batch: int
    precision: str
    cached: bool


CASES = {
    "cpu": (Case("resnet18", 192, 32, 16, "fp32", cached=False),),
    "cuda": (
        Case("resnet50", 4096, 1024, 128, "bf16", cached=False),
        Case("resnet50", 4096, 1024, 128, "bf16", cached=True),
    ),
}


def run(quick: bool) -> list[Row]:
    """Images a second with the input settings of Waterbirds; both sides are trained as a job trains, in turn."""
    where = device()
    with tempfile.TemporaryDirectory() as name, deterministic(where):
        return [_row(case, Path(name), where, quick) for case in CASES[where.type]]


def _row(case: Case, folder: Path, where: torch.device, quick: bool) -> Row:
    images = case.quick_images if quick else case.images
    config = _config(case, where)
    path = folder / f"{case.architecture}-{case.cached}.zip"
    write_photographs(path, images)
    with (
        Dataset.open(path) as dataset,
        Loader(dataset, config.input, device=where, cache_mib=config.runtime.cache_mib) as loader,
    ):
        train = dataset.splits["train"]

        def from_archive(start: int) -> Generator[Batch, None, None]:
            yield from loader.train_epoch(train, seed=0, epoch=1, batch_size=case.batch, start_step=start)

        sizes = [min(case.batch, images - start) for start in range(0, images, case.batch)]
        synthetic = [_synthetic(case.batch, config.input.size, where) for _ in range(_SYNTHETIC_BATCHES)]

        def in_memory(start: int) -> Generator[Batch, None, None]:
            for size, whole in zip(sizes[start:], itertools.cycle(synthetic), strict=False):
                yield Batch(whole.index[:size], whole.image[:size], whole.label[:size])

        comparison = compare(
            finished(_epoch(config, where, from_archive, len(sizes)), where),
            finished(_epoch(config, where, in_memory, len(sizes)), where),
            rounds=1 if quick else 3,
        )
    decoding = "decoded images cached" if case.cached else "every image decoded anew"
    return Row(
        name=f"training epoch from JPEG files, {case.architecture}, {config.input.size} px, {decoding}",
        measured=images / comparison.measured_seconds,
        baseline=images / comparison.baseline_seconds,
        ratio=comparison.speedup,
        unit="images/s",
        at_least=GOAL,
        note=f"{images:,} images, batch {case.batch}, {case.precision}; baseline: synthetic batches in memory",
    )


def _config(case: Case, where: torch.device) -> JobConfig:
    runtime = {"device": where.type, "precision": case.precision, "channels_last": where.type == "cuda"}
    changes = {
        "model": {"architecture": case.architecture, "pretrained": False},
        "erm": {"batch_size": case.batch},
        "runtime": runtime if case.cached else {**runtime, "cache_mib": 0},
    }
    return resolve_config("waterbirds", changes)


def _epoch(
    config: JobConfig, where: torch.device, batches: Callable[[int], Generator[Batch, None, None]], steps: int
) -> Callable[[], None]:
    """An epoch as a job makes it, with a model of its own."""
    torch.manual_seed(0)
    model = build_model(config.model.architecture, 2).to(where)
    if config.runtime.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    trainer = Trainer(model, make_optimizer(model.parameters(), config.erm.optimizer), config, where)

    def epoch() -> None:
        train_epoch(
            trainer,
            batches,
            EpochSums.zero(where),
            steps=steps,
            start_step=0,
            seed=0,
            where="the benchmark",
            before_step=lambda step: None,  # noqa: ARG005 - the signature is given
        )

    return epoch


def _synthetic(count: int, size: int, where: torch.device) -> Batch:
    image = torch.randn(count, 3, size, size, device=where)
    return Batch(torch.arange(count), image, torch.arange(count, device=where) % 2)
