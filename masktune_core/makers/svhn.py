"""SVHN, cropped digits (Netzer et al. 2011), from `train_32x32.mat` and `test_32x32.mat`: a torchvision root."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from masktune_core.errors import ArchiveError, Problem
from masktune_core.makers.download import Download, find, missing, open_download
from masktune_core.makers.packing import add_pictures, hold_out, packed

CLASSES: Final = tuple(str(digit) for digit in range(10))


def make_svhn(destination: Path, source: Path, *, val: float = 0.2, seed: int = 0) -> Path:
    """Write train and val (the share `val` of each class's training images, drawn by `seed`) and test, as PNG.

    `source`: the folder of the two files, or an archive of it. Raises `ArchiveError` if one is missing or damaged.
    """
    with open_download(source) as download, packed(destination) as (packing, rows):
        images, labels = _part(download, "train", source)
        held = hold_out(labels, val, seed=seed)
        test_images, test_labels = _part(download, "test", source)
        for split, pictures, classes in (
            ("train", images[~held], labels[~held]),
            ("val", images[held], labels[held]),
            ("test", test_images, test_labels),
        ):
            rows.extend(add_pictures(packing, split, pictures, classes, CLASSES))
    return destination


def _part(download: Download, part: str, source: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    name = f"{part}_32x32.mat"
    place = find(download, name)
    if place is None:
        raise missing(source, f"holds no {name}: give the folder of SVHN's cropped digits (format 2)")
    try:
        content = loadmat(io.BytesIO(download.read(place)), variable_names=["X", "y"])
        pixels = np.asarray(content["X"], dtype=np.uint8).reshape(32, 32, 3, -1)
        images = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
        labels = np.asarray(content["y"], dtype=np.int64).reshape(len(images)) % 10  # 10 stands for the digit 0
    except (KeyError, ValueError, TypeError, NotImplementedError, OSError, MatReadError) as error:
        raise ArchiveError([Problem("archive_damaged", place, f"does not hold SVHN: {error}")]) from error
    return images, labels
