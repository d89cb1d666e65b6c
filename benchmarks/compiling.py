"""`runtime.compile`: training steps by torch.compile against the same steps without, and what compiling costs first."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks._device import device, finished
from benchmarks.table import Row, compare
from masktune_core.config import JobConfig, resolve_config
from masktune_core.crew import Crew, member, suits_crew
from masktune_core.data.loader import Batch
from masktune_core.distributed import ALONE
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.randomness import cpu_threads
from masktune_core.shared_batch_norm import share_batch_norm
from masktune_core.training import EpochSums, Trainer, memory_format


@dataclass(frozen=True, slots=True)
class Case:
    """One network at its preset's settings, or nearly so."""

    preset: str
    architecture: str
    batch: int
    steps: int
    precision: str = "fp32"


CASES = {
    "cpu": (Case("biased_mnist", "small_cnn", 128, 10), Case("waterbirds", "resnet18", 16, 2)),
    "cuda": (Case("cifar10", "resnet32_cifar", 128, 20), Case("waterbirds", "resnet50", 128, 10, "bf16")),
}


def run(quick: bool) -> list[Row]:
    """Batches in memory; both sides take turns. No row where a network cannot be compiled: the CPU needs a compiler."""
    where = device()
    if where.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        return []
    return [_row(case, where, quick) for case in CASES[where.type][: 1 if quick else None]]


def _row(case: Case, where: torch.device, quick: bool) -> Row:
    plain, compiled = (_steps(case, where, compiled=choice) for choice in (False, True))
    start = time.perf_counter()
    finished(compiled, where)()
    first = time.perf_counter() - start
    comparison = compare(finished(compiled, where), finished(plain, where), rounds=1 if quick else 5)
    images = case.batch * case.steps
    return Row(
        name=f"training steps compiled by torch.compile: {case.architecture}, batch {case.batch}, {case.precision}",
        measured=images / comparison.measured_seconds,
        baseline=images / comparison.baseline_seconds,
        ratio=comparison.speedup,
        unit="images/s",
        note=f"baseline: runtime.compile false; the first {case.steps} steps, with compiling, took {first:.0f} s",
    )


def _steps(case: Case, where: torch.device, *, compiled: bool) -> Callable[[], None]:
    """Some training steps as a job makes them, each call more of the same model."""
    runtime = {"device": where.type, "precision": case.precision, "compile": compiled}
    model = {"architecture": case.architecture, "pretrained": False}
    changes = {"model": model, "erm": {"batch_size": case.batch}, "runtime": runtime}
    config = resolve_config(case.preset, changes)
    trainer = _trainer(config, where)
    size = config.input.size
    image = torch.randn(case.batch, 3, size, size, device=where)
    batch = Batch(torch.arange(case.batch), image, torch.arange(case.batch, device=where) % 2)

    def steps() -> None:
        with cpu_threads(case.architecture, where):
            for _ in range(case.steps):
                trainer.step(batch, EpochSums.zero(where))

    return steps


def _trainer(config: JobConfig, where: torch.device) -> Trainer:
    torch.manual_seed(0)
    model = build_model(config.model.architecture, 2)
    crew = Crew() if suits_crew(config, where, ALONE) else None  # its threads last as long as the process
    if crew is not None:
        model = share_batch_norm(model, member)
    model.to(where).to(memory_format=memory_format(config.runtime, model))  # type: ignore[call-overload]
    optimizer = make_optimizer(model.parameters(), config.erm.optimizer)
    return Trainer(model.train(), optimizer, config, where, crew=crew)
