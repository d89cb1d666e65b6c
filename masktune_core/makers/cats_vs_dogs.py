"""Cats vs Dogs: Microsoft's `PetImages/Cat/0.jpg` or Kaggle's `train/cat.0.jpg`, also with `train.zip` inside a zip."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from masktune_core.intake.images import ImageError, prepare_image
from masktune_core.intake.layouts.cats_vs_dogs import CLASSES, FILE
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.pictures import HELD_OUT
from masktune_core.intake.splits import three_splits
from masktune_core.makers.download import Download, find, missing, open_download
from masktune_core.makers.packing import packed

_FOLDER: Final = re.compile(r"(?:.*/)?(cat|dog)s?/[^/]+\.jpe?g", re.IGNORECASE)


class MadeCatsVsDogs(NamedTuple):
    """The archive, and the downloaded files that are no whole images and were left out: Microsoft's copy has some."""

    path: Path
    left_out: list[str]


def make_cats_vs_dogs(
    destination: Path, source: Path, *, test: float = HELD_OUT, val: float = HELD_OUT, seed: int = 0
) -> MadeCatsVsDogs:
    """Write test (a share of each class), and of the rest val (a share) and train, drawn by `seed`.

    Kaggle's own test images have no labels and are not used. Raises `ArchiveError` if there are no cats or no dogs.
    """
    with _opened(source) as download, packed(destination) as (packing, rows):
        found = [(name, match[1].lower()) for name in download.names if (match := _labelled(name))]
        if {label for _, label in found} != set(CLASSES):
            raise missing(
                source, "holds no PetImages/Cat and PetImages/Dog, and no train/cat.0.jpg and train/dog.0.jpg"
            )
        labels = np.array([CLASSES.index(label) for _, label in found], dtype=np.int64)
        splits = three_splits(labels, test=test, val=val, seed=seed)
        left_out = []
        for (name, label), split in zip(found, splits, strict=True):
            content = download.read(name)
            try:
                prepare_image(content, IntakeLimits().max_pixels)
            except ImageError:
                left_out.append(name)
                continue
            target = f"{split}/{label}/{name.rpartition('/')[2]}"
            packing.add(target, content)
            rows.append((target, label, split))
    return MadeCatsVsDogs(destination, left_out)


def _labelled(name: str) -> re.Match[str] | None:
    return FILE.fullmatch(name) or _FOLDER.fullmatch(name)


@contextmanager
def _opened(source: Path) -> Iterator[Download]:
    with open_download(source) as download:
        inner = None if any(map(_labelled, download.names)) else find(download, "train.zip")
        if inner is None:
            yield download
            return
        with tempfile.NamedTemporaryFile(prefix="masktune-make-", suffix=".zip") as file:
            file.write(download.read(inner))
            file.flush()
            with open_download(Path(file.name)) as unpacked:
                yield unpacked
