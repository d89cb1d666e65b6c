"""A whole job, from a file to its result, against the authors' way of doing the same steps (`authors_way.py`)."""

from __future__ import annotations

import csv
import io
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torchvision.transforms.functional import to_pil_image

from benchmarks import authors_way
from benchmarks._digits import full_mnist
from benchmarks.table import Row, compare
from masktune_core.config import resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.intake import normalise
from masktune_core.makers.biased_mnist import CLASSES, make_biased_mnist
from masktune_core.masking import keep_mask
from masktune_core.models import build_model
from masktune_core.optimizers import make_optimizer
from masktune_core.pipeline import run as run_pipeline
from masktune_core.saliency import compute_cams

MASKS_GOAL = 12.0
PIPELINE_GOAL = 4.0
IMAGES = 48_000
WORKERS = 2
BATCH = 512
CONFIG = resolve_config("biased_mnist", {"erm": {"epochs": 3}, "runtime": {"device": "cpu"}})


def run(quick: bool) -> list[Row]:
    """Maps and masks of one batch, then the whole: 48,000 images, 3 ERM epochs."""
    with tempfile.TemporaryDirectory() as folder:
        return [_masks(Path(folder), quick), _whole(Path(folder), 1_000 if quick else IMAGES)]


def _masks(folder: Path, quick: bool) -> Row:
    torch.manual_seed(0)
    batch = 64 if quick else BATCH
    model = build_model("small_cnn", 2).eval()
    images = torch.rand(batch, 3, 28, 28)
    maps = authors_way.explainer(model)
    sources, targets = ([folder / name / f"{position}.png" for position in range(batch)] for name in ("from", "to"))
    for image, source in zip(images, sources, strict=True):
        source.parent.mkdir(exist_ok=True)
        to_pil_image(image).save(source)
    comparison = compare(
        lambda: keep_mask(compute_cams(model, images), 28),
        lambda: authors_way.write_masked(authors_way.kept_pixels(maps(images)), sources, targets),
        rounds=2 if quick else 5,
        in_a_row=2,
    )
    return Row(
        name=f"maps and masks against the authors' way, small_cnn, 28 px, batch {batch}",
        measured=batch / comparison.measured_seconds,
        baseline=batch / comparison.baseline_seconds,
        ratio=comparison.speedup,
        unit="images/s",
        at_least=MASKS_GOAL,
        note="baseline: full backward pass through grad-cam, NumPy threshold, PNG written by a pool for the batch",
    )


def _whole(folder: Path, images: int) -> Row:
    """Once each: this takes minutes. Both begin with the same archive of PNG files and end with all accuracies."""
    digits = full_mnist()
    archive = _repeated(folder, images) if digits is None else _complete(folder, images, digits)
    start = time.perf_counter()
    normalise(archive, folder / "dataset.zip")
    stages = {"intake": time.perf_counter() - start}
    with Dataset.open(folder / "dataset.zip") as dataset:
        stages |= run_pipeline(CONFIG, dataset, work_dir=folder / "work").manifest["stage_seconds"]
    between = time.perf_counter()
    _theirs(archive, folder / "theirs")
    ours, theirs = between - start, time.perf_counter() - between
    return Row(
        name=f"whole pipeline, Biased MNIST, {images:,} images, 3 ERM epochs, file to result",
        measured=ours,
        baseline=theirs,
        ratio=theirs / ours,
        unit="s",
        at_least=PIPELINE_GOAL,
        note=f"{'digits of the project, repeated' if digits is None else 'complete MNIST'}; ours also checks every "
        f"image, and explains all splits twice: {_listed(stages)}; theirs: {WORKERS} loader processes",
    )


def _listed(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {each:.1f} s" for stage, each in seconds.items())


def _complete(folder: Path, images: int, digits: Path) -> Path:
    """The paper's data set, or a part of it with the same proportions."""
    return make_biased_mnist(folder / "made.zip", digits=digits, train=images, val=images // 4, test=images * 5 // 24)


def _repeated(folder: Path, images: int) -> Path:
    """The bundled digits, again and again: the time does not depend on what they show."""
    once = make_biased_mnist(folder / "once.zip")
    made = folder / "many.zip"
    with zipfile.ZipFile(once) as source, zipfile.ZipFile(made, "w") as target:
        rows = list(csv.DictReader(io.StringIO(source.read("metadata.csv").decode())))
        train = [row for row in rows if row["split"] == "train"]
        others = [row for row in rows if row["split"] != "train"][: images // 8]
        others += [
            next(row for row in rows if row["split"] == split) for split in ("val", "test:original", "test:biased")
        ]
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(rows[0].keys())
        for number in range(images):
            row = train[number % len(train)]
            name = f"train/{number:06d}.png"
            target.writestr(name, source.read(row["file_name"]))
            writer.writerow([name, row["label"], "train", row["square"]])
        for number, row in enumerate(others):
            name = f"other/{number:06d}.png"
            target.writestr(name, source.read(row["file_name"]))
            writer.writerow([name, row["label"], row["split"], row["square"]])
        target.writestr("metadata.csv", table.getvalue())
    return made


def _theirs(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
    rows = list(csv.DictReader(io.StringIO((folder / "metadata.csv").read_text())))
    parts = {
        split: authors_way.Files(
            [folder / row["file_name"] for row in rows if row["split"] == split],
            [CLASSES.index(row["label"]) for row in rows if row["split"] == split],
        )
        for split in ("train", "val", "test:original", "test:biased")
    }
    size = CONFIG.erm.batch_size
    model = build_model("small_cnn", 2)
    optimizer = make_optimizer(model.parameters(), CONFIG.erm.optimizer)

    def evaluate(*splits: str) -> None:
        for split in splits:
            authors_way.test(model, authors_way.loader(parts[split], size, shuffle=False, workers=WORKERS))

    for _ in range(CONFIG.erm.epochs):
        authors_way.train(model, optimizer, authors_way.loader(parts["train"], size, shuffle=True, workers=WORKERS))
        evaluate("val")
    evaluate(*parts)
    ordered = authors_way.loader(parts["train"], size, shuffle=False, workers=WORKERS)
    masked = authors_way.Files(authors_way.mask_files(model, ordered, folder / "masked"), parts["train"].labels)
    authors_way.train(model, optimizer, authors_way.loader(masked, size, shuffle=True, workers=WORKERS))
    evaluate(*parts)
