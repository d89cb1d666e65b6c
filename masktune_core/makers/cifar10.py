"""CIFAR-10 (Krizhevsky 2009), from `cifar-10-python.tar.gz`, its folder, or a torchvision root that holds either."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from masktune_core.intake.findings import Findings
from masktune_core.intake.layouts.cifar10 import CLASSES, ENDINGS, TEST, read_parts
from masktune_core.intake.pictures import HELD_OUT, arranged
from masktune_core.makers.download import find, missing, open_download
from masktune_core.makers.packing import add_pictures, packed

_ARCHIVE: Final = "cifar-10-python.tar.gz"


def make_cifar10(destination: Path, source: Path, *, val: float = HELD_OUT, seed: int = 0) -> Path:
    """Write train and val (the share `val` of each class's training images, drawn by `seed`) and test, as PNG.

    The binary version will do as well. Raises `ArchiveError` if a batch is missing or holds anything but arrays of
    bytes, numbers and text.
    """
    archive = source / _ARCHIVE
    inside = archive if archive.is_file() and not (source / "cifar-10-batches-py").is_dir() else source
    with open_download(inside) as download, packed(destination) as (packing, rows):

        def get(name: str) -> tuple[str, bytes]:
            place = find(download, name)
            if place is None:
                raise missing(source, f"holds no {name}: give cifar-10-python.tar.gz, or the folder that holds it")
            return place, download.read(place)

        ending = next((each for each in ENDINGS if find(download, TEST + each)), "")
        train, test = read_parts(get, ending, Findings())
        rows.extend(add_pictures(packing, arranged(train, test, CLASSES, val=val, seed=seed)))
    return destination
