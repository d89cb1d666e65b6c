"""SVHN, cropped digits (Netzer et al. 2011), from `train_32x32.mat` and `test_32x32.mat`: a torchvision root."""

from __future__ import annotations

from pathlib import Path

from masktune_core.intake.findings import Findings
from masktune_core.intake.layouts.svhn import CLASSES, TEST, TRAIN, read_part
from masktune_core.intake.pictures import HELD_OUT, arranged
from masktune_core.makers.download import find, missing, open_download
from masktune_core.makers.packing import add_pictures, packed


def make_svhn(destination: Path, source: Path, *, val: float = HELD_OUT, seed: int = 0) -> Path:
    """Write train and val (the share `val` of each class's training images, drawn by `seed`) and test, as PNG.

    `source`: the folder of the two files, or an archive of it. Raises `ArchiveError` if one is missing or damaged.
    """
    with open_download(source) as download, packed(destination) as (packing, rows):

        def get(name: str) -> tuple[str, bytes]:
            place = find(download, name)
            if place is None:
                raise missing(source, f"holds no {name}: give the folder of SVHN's cropped digits (format 2)")
            return place, download.read(place)

        train, test = (read_part(get, name, Findings()) for name in (TRAIN, TEST))
        rows.extend(add_pictures(packing, arranged(train, test, CLASSES, val=val, seed=seed)))
    return destination
