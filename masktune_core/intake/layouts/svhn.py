"""SVHN's cropped digits (Netzer et al. 2011): `train_32x32.mat` and `test_32x32.mat`."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

import numpy as np

from masktune_core.intake.findings import Findings
from masktune_core.intake.members import MemberError
from masktune_core.intake.pictures import HELD_OUT, Part, arranged, draft_of
from masktune_core.intake.plan import Draft
from masktune_core.intake.tree import Tree

CLASSES: Final = tuple(str(digit) for digit in range(10))
TRAIN: Final = "train_32x32.mat"
TEST: Final = "test_32x32.mat"
_EXTRA: Final = "extra_32x32.mat"
_SIDE: Final = 32
# Pixels of one file, unpacked: those of `train` are 225 MB.
_MOST_BYTES: Final = 256 * 2**20


def recognises(tree: Tree) -> bool:
    """Both files, wherever they lie."""
    return tree.root == "" and None not in (tree.nearest(TRAIN), tree.nearest(TEST))


def read(tree: Tree, findings: Findings, seed: int) -> Draft:
    """Images become PNG files; of the training images of each digit a fifth, drawn by the seed, is for validation."""

    def get(name: str) -> tuple[str, bytes]:
        place = tree.nearest(name) or name
        try:
            return place, tree.read(place)
        except MemberError as error:
            raise findings.fatal("archive_damaged", place, str(error)) from error

    extra = tree.nearest(_EXTRA)
    if extra is not None:
        findings.warning("files_ignored", extra, "the extra training images of SVHN were left out")
    train, test = (read_part(get, name, findings) for name in (TRAIN, TEST))
    return draft_of("svhn", arranged(train, test, CLASSES, val=HELD_OUT, seed=seed), CLASSES)


def read_part(get: Callable[[str], tuple[str, bytes]], name: str, findings: Findings) -> Part:
    """The images of one file, whose full name and content `get` returns; 10 stands for the digit 0.

    Raises what `get` raises, and `ArchiveError` (`archive_damaged`) for a file that holds anything else.
    """
    place, content = get(name)
    try:
        return _decoded(content)
    except MemoryError:
        raise
    except Exception as error:  # hostile bytes: MATLAB's format has many corners
        message = f"does not hold SVHN's cropped digits: {str(error)[:200] or type(error).__name__}"
        raise findings.fatal("archive_damaged", place, message) from error


def _decoded(content: bytes) -> Part:
    from scipy.io import loadmat, whosmat

    # What the headers say, before anything is made room for: X is (32, 32, 3, N), y is (N, 1).
    headers = [(name, shape, kind) for name, shape, kind in whosmat(io.BytesIO(content)) if name in ("X", "y")]
    shapes = {name: shape for name, shape, _ in headers}
    if sorted(name for name, _, _ in headers) != ["X", "y"] or "uint8" not in (
        kind for name, _, kind in headers if name == "X"
    ):
        raise ValueError("it needs one X of bytes and one y")
    if shapes["X"][:3] != (_SIDE, _SIDE, 3) or shapes["y"] not in ((shapes["X"][3], 1), (1, shapes["X"][3])):
        raise ValueError(f"X and y have the shapes {shapes['X']} and {shapes['y']}, not (32, 32, 3, N) and (N, 1)")
    if int(np.prod(shapes["X"])) > _MOST_BYTES:
        raise ValueError(f"it has {shapes['X'][3]:,} images; the limit is {_MOST_BYTES // (3 * _SIDE**2):,}")
    found = loadmat(io.BytesIO(content), variable_names=["X", "y"])
    labels = found["y"].reshape(-1).astype(np.int64)
    if labels.min() < 0 or labels.max() > len(CLASSES):
        raise ValueError("its labels are not 1 to 10")
    return Part(np.moveaxis(found["X"], 3, 0), labels % len(CLASSES))
