"""CIFAR-10 (Krizhevsky 2009), from `cifar-10-python.tar.gz`, its folder, or a torchvision root that holds either."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from masktune_core.errors import ArchiveError, Problem
from masktune_core.makers.download import Download, find, missing, open_download
from masktune_core.makers.packing import add_pictures, hold_out, packed

CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TRAIN: Final = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST: Final = "test_batch"
_ARCHIVE: Final = "cifar-10-python.tar.gz"

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def make_cifar10(destination: Path, source: Path, *, val: float = 0.2, seed: int = 0) -> Path:
    """Write train and val (the share `val` of each class's training images, drawn by `seed`) and test, as PNG.

    Raises `ArchiveError` if a batch is missing or holds anything but arrays, numbers and text.
    """
    archive = source / _ARCHIVE
    inside = archive if archive.is_file() and not (source / "cifar-10-batches-py").is_dir() else source
    with open_download(inside) as download, packed(destination) as (packing, rows):
        parts = [_batch(download, name, source) for name in _TRAIN]
        images, labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        held = hold_out(labels, val, seed=seed)
        test_images, test_labels = _batch(download, _TEST, source)
        for split, pictures, classes in (
            ("train", images[~held], labels[~held]),
            ("val", images[held], labels[held]),
            ("test", test_images, test_labels),
        ):
            rows.extend(add_pictures(packing, split, pictures, classes, CLASSES))
    return destination


def _batch(download: Download, name: str, source: Path) -> Part:
    place = find(download, name)
    if place is None:
        raise missing(source, f"holds no {name}: give cifar-10-python.tar.gz, or the folder that holds it")
    try:
        content = read_plain_pickle(download.read(place))
        data, labels = np.asarray(content[b"data"], dtype=np.uint8), np.asarray(content[b"labels"], dtype=np.int64)
        return data.reshape(len(labels), 3, 32, 32).transpose(0, 2, 3, 1), np.array([*range(len(CLASSES))])[labels]
    except (pickle.UnpicklingError, KeyError, ValueError, TypeError, EOFError, AttributeError, IndexError) as error:
        raise ArchiveError([Problem("archive_damaged", place, f"is no batch of CIFAR-10: {error}")]) from error


class _ArraysOnly(pickle.Unpickler):
    """Makes NumPy arrays and plain values; any other name in the stream is refused, so nothing can be called."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in {"numpy.core.multiarray", "numpy._core.multiarray"}:
            return np.empty(0).__reduce__()[0]
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which arrays do not need")


def _bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}, which bytes do not need")
    return text.encode("latin1")


def read_plain_pickle(content: bytes) -> Any:
    """What a pickle of arrays, numbers, text, lists and dicts holds; text of Python 2 comes as bytes.

    Raises `pickle.UnpicklingError` for a pickle that names anything else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about how Python 2 wrote a dtype's flags
        return _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
