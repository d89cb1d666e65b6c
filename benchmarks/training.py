"""A training epoch of a real job, with its loader, checks, progress and stop requests, against a bare loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from benchmarks.table import Row
from masktune_core.callbacks import Callbacks, EpochRecord, ResumePointInfo
from masktune_core.config import JobConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.errors import Interrupted
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.pipeline import run as run_pipeline

GOAL = 0.85
CPU = torch.device("cpu")


def run(quick: bool) -> list[Row]:
    """Images a second on the CPU. After every epoch of the job the bare loop runs one: both meet the same machine."""
    epochs = 4 if quick else 9
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = make_biased_mnist(folder / "digits.zip", train=1024 if quick else 9000, val=2, test=2)
        normalise(digits, folder / "dataset.zip")
        with Dataset.open(folder / "dataset.zip") as dataset:
            config = resolve_config("biased_mnist", {"erm": {"epochs": epochs}, "runtime": {"device": "cpu"}})
            turns = _Turns(config, dataset)
            with suppress(Interrupted):  # after ERM there is nothing more to time
                run_pipeline(config, dataset, work_dir=folder / "work", callbacks=turns)
            images = len(dataset.splits["train"])
    ours, bare = turns.ours[1:], turns.bare[1:]  # the first of each fills caches
    return [
        Row(
            name=f"training epoch of a job, small_cnn, {images:,} digits",
            measured=images / statistics.median(ours),
            baseline=images / statistics.median(bare),
            ratio=statistics.median(theirs / mine for mine, theirs in zip(ours, bare, strict=True)),
            unit="images/s",
            at_least=GOAL,
            note=f"batch {config.erm.batch_size}, median of {len(ours)} epochs in turn; baseline: preloaded tensors",
        ),
        Row(
            name="writing a resume point, small_cnn",
            measured=1000 * statistics.median(turns.points),
            unit="ms",
            note="model, optimizer and position, flushed to disk",
        ),
    ]


class _Turns(Callbacks):
    """Times the job's epochs, and a bare one after each. Stops the job when masking begins."""

    def __init__(self, config: JobConfig, dataset: Dataset) -> None:
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.points: list[float] = []
        self._config = config
        self._stop = False
        self._epoch_end = 0.0
        with Loader(dataset, config.input, device=CPU) as loader:
            batches = list(loader.eval_batches(dataset.splits["train"], batch_size=1024))
        self._images = torch.cat([batch.image for batch in batches])
        self._labels = torch.cat([batch.label for batch in batches])
        self._model = build_model(config.model.architecture, len(dataset.classes))
        self._optimizer = make_optimizer(self._model.parameters(), config.erm.optimizer)

    def on_epoch(self, record: EpochRecord) -> None:
        self.ours.append(record.seconds)
        start = time.perf_counter()
        self._bare_epoch()
        self._epoch_end = time.perf_counter()
        self.bare.append(self._epoch_end - start)

    def on_resume_point(self, point: ResumePointInfo) -> None:
        self.points.append(time.perf_counter() - self._epoch_end)
        self._stop = point.epoch > self._config.erm.epochs

    def should_stop(self) -> bool:
        return self._stop

    def _bare_epoch(self) -> None:
        self._model.train()
        for chosen in torch.split(torch.randperm(len(self._labels)), self._config.erm.batch_size):
            self._optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(self._model(self._images[chosen]), self._labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            self._optimizer.step()
