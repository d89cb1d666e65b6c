"""Reading images: a whole training epoch against a bare loop over tensors in memory, and decoding of photographs."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from benchmarks._photographs import write_photographs
from benchmarks.table import Row, compare
from masktune_core.config import IMAGENET_MEAN, IMAGENET_STD, PRESETS, InputConfig, resolve_config
from masktune_core.crew import Crew, member
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Batch, Loader
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from masktune_core.mask_store import MaskStore
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.randomness import cpu_threads
from masktune_core.shared_batch_norm import share_batch_norm
from masktune_core.training import EpochSums, Trainer, train_epoch

GOAL = 0.85
CPU = torch.device("cpu")


def run(quick: bool) -> list[Row]:
    """Images a second on the CPU; in every pair both sides take turns."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_epochs(Path(folder), quick), *_photographs(Path(folder), quick)]


def _epochs(folder: Path, quick: bool) -> list[Row]:
    """An epoch as a job runs it: loader, masks, checks and all, on digits that are decoded already."""
    digits = make_biased_mnist(folder / "digits.zip", train=1024 if quick else 7000, val=2, test=2)
    normalise(digits, folder / "normalised.zip")
    rounds = 2 if quick else 7
    with (
        Dataset.open(folder / "normalised.zip") as dataset,
        Loader(dataset, InputConfig(), device=CPU) as loader,
        Crew() as crew,
    ):
        train = dataset.splits["train"]
        keep = np.random.default_rng(0).random((len(train), 28, 28)) > 0.05
        with MaskStore.create(folder / "masks", dataset.sizes[:, 0], dataset.sizes[:, 1]) as masks:
            masks.put(train, keep)
            bare = _bare_epoch(dataset, train)
            rows = []
            for name, used in (("ERM epoch", None), ("finetuning epoch, masked on the fly", masks)):
                comparison = compare(_our_epoch(loader, train, used, crew), bare, rounds=rounds)
                rows.append(
                    Row(
                        name=f"{name}, small_cnn, {len(train):,} digits",
                        measured=len(train) / comparison.measured_seconds,
                        baseline=len(train) / comparison.baseline_seconds,
                        ratio=comparison.speedup,
                        unit="images/s",
                        at_least=GOAL,
                        note="baseline: bare loop over preloaded tensors",
                    )
                )
        return rows


def _our_epoch(loader: Loader, train: NDArray[np.int64], masks: MaskStore | None, crew: Crew) -> Callable[[], None]:
    config = resolve_config("biased_mnist")
    size = config.erm.batch_size
    model = share_batch_norm(build_model("small_cnn", 2), member)
    trainer = Trainer(model, make_optimizer(model.parameters(), config.erm.optimizer), config, CPU, crew=crew)
    list(loader.eval_batches(train, batch_size=size))  # decode once

    def batches(start: int) -> Generator[Batch, None, None]:
        yield from loader.train_epoch(train, seed=0, epoch=1, batch_size=size, masks=masks, start_step=start)

    def epoch() -> None:
        with cpu_threads("small_cnn", CPU):
            train_epoch(
                trainer,
                batches,
                EpochSums.zero(CPU),
                steps=-(-len(train) // size),
                start_step=0,
                seed=0,
                where="the benchmark",
                before_step=lambda step: None,  # noqa: ARG005 - the signature is given
            )

    return epoch


def _bare_epoch(dataset: Dataset, train: NDArray[np.int64]) -> Callable[[], None]:
    config = resolve_config("biased_mnist")
    model = build_model("small_cnn", 2).train()
    optimizer = make_optimizer(model.parameters(), config.erm.optimizer)
    pixels = torch.from_numpy(np.stack([dataset.read(int(index)) for index in train]))
    images = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255.0
    labels = torch.from_numpy(dataset.labels[train])

    def epoch() -> None:
        order = torch.randperm(len(images))
        for start in range(0, len(images), config.erm.batch_size):
            chosen = order[start : start + config.erm.batch_size]
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()

    return epoch


def _photographs(folder: Path, quick: bool) -> list[Row]:
    """Photographs of several sizes in the Waterbirds view, not cached, against torchvision on the same threads."""
    photographs = write_photographs(folder / "photographs.zip", 64 if quick else 256)
    config = PRESETS["waterbirds"].input
    theirs = v2.Compose(
        [
            v2.Resize(config.resize, antialias=True),
            v2.CenterCrop(config.size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )

    def torchvision() -> None:
        for start in range(0, len(photographs), 32):
            batch: list[Tensor] = [
                theirs(Image.open(io.BytesIO(encoded)).convert("RGB")) for encoded in photographs[start : start + 32]
            ]
            torch.stack(batch)

    with (
        Dataset.open(folder / "photographs.zip") as dataset,
        Loader(dataset, config, device=CPU, cache_mib=0) as loader,
    ):
        indices = dataset.splits["train"]

        def ours() -> None:
            for _ in loader.eval_batches(indices, batch_size=32):
                pass

        comparison = compare(ours, torchvision, rounds=2 if quick else 5)
    return [
        Row(
            name=f"photographs decoded, {config.size} px, {len(os.sched_getaffinity(0))} threads",
            measured=len(photographs) / comparison.measured_seconds,
            baseline=len(photographs) / comparison.baseline_seconds,
            ratio=comparison.speedup,
            unit="images/s",
            note="baseline: Pillow and torchvision, one thread",
        )
    ]
