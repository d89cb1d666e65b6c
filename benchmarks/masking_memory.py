"""Masking does not grow: peak memory over 100,000 images against 10,000, and time per image up to a million."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.table import Row
from masktune_core.config import resolve_config
from masktune_core.data.archive import ArchiveIndex, read_index
from masktune_core.data.dataset import Dataset
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import make_biased_mnist

FEW, MANY = 10_000, 100_000
GROWTH_GOAL = 1 / 1.2
_MASKED = 1_000  # images timed, spread over the index: no more than the smallest has, so that each is decoded once
_ROUNDS = 3


def run(quick: bool) -> list[Row]:
    """Every size runs in a process of its own; the index repeats the images of one small archive."""
    scale = 10 if quick else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "dataset.zip"
        normalise(make_biased_mnist(folder / "made.zip", train=1000, val=2, test=2), archive)
        few, many = (_in_process(archive, folder, count // scale) for count in (FEW, MANY))
        if quick:
            sizes: tuple[int, ...] = (FEW // scale, MANY // scale)
            times = [few["seconds"], many["seconds"]]
        else:
            sizes = (1_000, 10_000, 100_000, 1_000_000)
            rounds = [
                [_in_process(archive, folder, count, _MASKED)["seconds"] for count in sizes] for _ in range(_ROUNDS)
            ]
            times = [statistics.median(found) for found in zip(*rounds, strict=True)]
    return [
        Row(
            name=f"peak memory of masking {MANY // scale:,} images against {FEW // scale:,}",
            measured=many["mib"],
            baseline=few["mib"],
            ratio=few["mib"] / many["mib"],
            unit="MiB",
            at_least=GROWTH_GOAL,
            note="whole process, small_cnn, 28 px, cache 32 MiB",
        ),
        Row(
            name=f"masking time per image, index of {sizes[-1]:,} against {sizes[0]:,}",
            measured=1e6 * times[-1],
            baseline=1e6 * times[0],
            ratio=times[0] / times[-1],
            unit="µs",
            at_least=GROWTH_GOAL,
            note=", ".join(f"{count:,}: {1e6 * seconds:.0f} µs" for count, seconds in zip(sizes, times, strict=True)),
        ),
    ]


def _in_process(archive: Path, folder: Path, count: int, masked: int | None = None) -> dict[str, float]:
    arguments = [str(archive), str(folder), str(count), str(masked or count)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.masking_memory", *arguments], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _repeated(dataset: Dataset, count: int) -> Dataset:
    """The data set with its training images over and over until there are `count`."""
    index = read_index(dataset.path)
    chosen = dataset.splits["train"][np.arange(count) % len(dataset.splits["train"])]
    columns = {name: getattr(index, name)[chosen] for name in ("split", "label", "attribute", "height", "width")}
    columns |= {name: getattr(index, name)[chosen] for name in ("offset", "length")}
    names = [index.names[position] for position in chosen.tolist()]
    larger = ArchiveIndex(
        classes=index.classes,
        attributes=index.attributes,
        layout=index.layout,
        split_names=index.split_names,
        names=names,
        **columns,
    )
    return Dataset(dataset.path, larger, None)


def _mask(archive: Path, folder: Path, count: int, masked: int) -> dict[str, float]:
    """Mask `masked` images spread over a data set of `count`, as the pipeline does."""
    from masktune_core.data.loader import Loader
    from masktune_core.mask_store import MaskStore
    from masktune_core.models import build_model
    from masktune_core.pipeline.mask_training import explain_batch, make_masks

    torch.set_num_threads(1)
    config = resolve_config("biased_mnist", {"runtime": {"device": "cpu"}})
    model = build_model("small_cnn", 2).eval()
    with Dataset.open(archive) as small, _repeated(small, count) as dataset:
        train = dataset.splits["train"]
        chosen = train[np.linspace(0, len(train) - 1, masked).astype(np.int64)]
        sizes = dataset.sizes
        with (
            Loader(dataset, config.input, device=torch.device("cpu"), workers=1, cache_mib=32) as loader,
            MaskStore.create(folder / "masks", sizes[:, 0], sizes[:, 1]) as store,
        ):
            start = time.perf_counter()
            for batch in loader.eval_batches(chosen, batch_size=config.masking.batch_size):
                cams = explain_batch(model, batch, config).cams
                indices = batch.index.numpy()
                store.put(indices, make_masks(cams, indices, loader, config, iteration=1))
            seconds = (time.perf_counter() - start) / masked
    return {"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    archive, folder, count, masked = sys.argv[1:]
    print(json.dumps(_mask(Path(archive), Path(folder), int(count), int(masked))))
