"""What grows with the data set, per image, from a thousand images to a million.

The index is simulated: an archive with so many entries, of which all are the same small image. Everything that is done
for every image beside decoding, training and explaining it is timed on such an index; all of it together has to cost
as much for an image among a million as for one among a thousand.

Intake is timed by itself, on archives of so many tiny images, and its memory for each image is held against what the
default limits leave for it.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks._intake import SIDE as TINY
from benchmarks._intake import taken_in
from benchmarks.table import Row
from masktune_core.config import InputConfig, SelectiveConfig
from masktune_core.data.archive import ArchiveWriter, Attribute, ImageRow, read_index
from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.data.philox import shuffled
from masktune_core.evaluation import Predictions, score_split
from masktune_core.mask_store import MaskStore
from masktune_core.pipeline.rejecting import judge_rejecting
from masktune_core.pipeline.state import Judged
from masktune_core.preflight.duplicates import exact_pairs, similar_pairs
from masktune_core.resume import RunIdentity, write_resume_point

GOAL = 1 / 1.5  # shuffling sorts, and a large index lies in no cache
SIDE = 28
_BATCH = 128
_LOADED = 2048  # images that the loader reads, wherever they lie
_LEAST_SECONDS = 0.5  # of each timing
# What 4 GiB leave for each of two million images, beside a quarter for decoding and the process's own memory.
_MOST_BYTES = (3 * 2**30 - 150 * 2**20) / 2_000_000
_SPLITS = ("train",) * 8 + ("val", "test")

Part = tuple[str, Callable[[], object], int]  # its name, the work, and for how many images that is


def run(quick: bool) -> list[Row]:
    """Microseconds an image: the largest data set against the smallest."""
    counts = (1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    found = [_measure(count) for count in counts]
    intake = {count: _take_in(count) for count in counts}
    total = {"all of these together": [sum(times.values()) for times in found]}
    every = {name: [times[name] for times in found] for name in found[0]}
    return [
        *_intake_rows(intake),
        *(
            Row(
                name=f"per image, {counts[-1]:,} images against {counts[0]:,}: {name}",
                measured=times[-1],
                baseline=times[0],
                ratio=times[0] / times[-1],
                unit="µs",
                at_least=GOAL if name in total else None,
                note=", ".join(f"{count:,}: {each:.3g} µs" for count, each in zip(counts, times, strict=True)),
            )
            for name, times in {**every, **total}.items()
        ),
    ]


def _take_in(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        return taken_in(Path(name), count)


def _intake_rows(found: Mapping[int, Mapping[str, float]]) -> list[Row]:
    few, *_, many = found
    before = list(found)[-2]
    times = [1e6 * each["seconds"] / count for count, each in found.items()]
    held = (found[many]["bytes"] - found[before]["bytes"]) / (many - before)
    return [
        Row(
            name=f"per image, {many:,} images against {few:,}: intake and its report",
            measured=times[-1],
            baseline=times[0],
            ratio=times[0] / times[-1],
            unit="µs",
            at_least=GOAL,
            note=f"images of {TINY} px; "
            + ", ".join(f"{count:,}: {each:.3g} µs" for count, each in zip(found, times, strict=True)),
        ),
        Row(
            name=f"memory of intake for each image, from {before:,} to {many:,}",
            measured=held,
            unit="bytes",
            at_most=_MOST_BYTES,
            note=f"at the most {found[many]['bytes'] / 2**20:.0f} MiB beyond the process's own with {many:,}",
        ),
    ]


def _measure(count: int) -> dict[str, float]:
    """Microseconds an image of every part, on an index of `count` images."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "dataset.zip"
        _write_archive(path, count)
        with Dataset.open(path) as dataset:
            return {part: 1e6 * _seconds(work) / images for part, work, images in _parts(dataset, Path(name))}


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of several times: what the work takes when nothing comes between, and all libraries are loaded."""
    work()
    times: list[float] = []
    while sum(times) < _LEAST_SECONDS:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _write_archive(path: Path, count: int) -> None:
    encoded = io.BytesIO()
    Image.fromarray(np.zeros((SIDE, SIDE, 3), dtype=np.uint8)).save(encoded, "png")
    attribute = Attribute("place", ("land", "water"))
    with ArchiveWriter(path, classes=("a", "b"), attributes=[attribute], layout="benchmark") as writer:
        for number in range(count):
            split = _SPLITS[number % len(_SPLITS)]
            row = ImageRow(f"{number:07d}.png", split, number % 2, (number // 2 % 2,), SIDE, SIDE)
            writer.add(row, encoded.getvalue())
        writer.finish()


def _parts(dataset: Dataset, folder: Path) -> Iterator[Part]:
    count, everything = len(dataset), np.arange(len(dataset), dtype=np.int64)
    random = np.random.default_rng(0)
    yield "reading the index", lambda: read_index(dataset.path), count
    yield "order of an epoch", lambda: shuffled(everything, seed=0, epoch=1), count

    order = shuffled(everything, seed=0, epoch=1)[:_LOADED]
    with Loader(dataset, InputConfig(size=SIDE), device=torch.device("cpu"), workers=1, cache_mib=0) as loader:
        yield "batches of the loader", lambda: list(loader.eval_batches(order, batch_size=_BATCH)), len(order)

    keep = random.random((_BATCH, SIDE, SIDE)) > 0.05
    with MaskStore.create(folder / "masks", dataset.sizes[:, 0], dataset.sizes[:, 1]) as store:

        def put() -> None:
            for start in range(0, count, _BATCH):
                store.put(everything[start : start + _BATCH], keep[: min(_BATCH, count - start)])

        yield "writing masks", put, count
        yield (
            "reading masks in random order",
            lambda: [store.get_batch(order[start : start + _BATCH]) for start in range(0, len(order), _BATCH)],
            len(order),
        )

    found = {
        split: [Predictions(random.integers(0, 2, len(members)), random.random(len(members))) for _ in range(3)]
        for split, members in dataset.splits.items()
    }

    def evaluate() -> None:
        for split, rows in found.items():
            for row in rows:
                score_split(dataset, split, row)
        judge_rejecting(dataset, found, SelectiveConfig(), iteration=1)

    yield "figures of two models and the reject option", evaluate, count
    judged, identity = Judged.empty(3, count), RunIdentity("0", "0", None)
    state = {"predicted": judged.predicted, "confidence": judged.confidence}

    def write_point() -> None:
        write_resume_point(folder / "resume", 1, identity=identity, state=state, masks=folder / "masks")

    yield "a resume point", write_point, count
    hashes, digests = (random.integers(0, 2**64, shape, dtype=np.uint64) for shape in (count, (count, 2)))
    splits = dataset.index.split.astype(np.int64)
    yield "searching duplicates", lambda: (exact_pairs(digests, splits), similar_pairs(hashes, splits)), count
