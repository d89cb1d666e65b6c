"""CIFAR-10 (Krizhevsky 2009) as its author ships it: six batches, pickled by Python 2 or as the binary version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from masktune_core.intake.findings import Findings
from masktune_core.intake.members import MemberError
from masktune_core.intake.pictures import HELD_OUT, Part, arranged, draft_of
from masktune_core.intake.plain_pickle import ByteArray, read_plain_pickle
from masktune_core.intake.plan import Draft
from masktune_core.intake.tree import Tree

CLASSES: Final = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ENDINGS: Final = ("", ".bin")
TEST: Final = "test_batch"
_TRAIN: Final = tuple(f"data_batch_{number}" for number in range(1, 6))
_SIDE: Final = 32
_PIXELS: Final = 3 * _SIDE**2


def recognises(tree: Tree) -> bool:
    """A first batch and the test's, wherever they lie."""
    return tree.root == "" and _ending(tree) is not None


def read(tree: Tree, findings: Findings, seed: int) -> Draft:
    """Images become PNG files; of the training images of each class a fifth, drawn by the seed, is for validation."""
    ending = _ending(tree) or ""
    folder = (tree.nearest(TEST + ending) or "").removesuffix(TEST + ending)

    def get(name: str) -> tuple[str, bytes]:
        try:
            return folder + name, tree.read(folder + name)
        except KeyError as error:
            raise findings.fatal("missing_file", folder + name, "is missing: CIFAR-10 comes in six batches") from error
        except MemberError as error:
            raise findings.fatal("archive_damaged", folder + name, str(error)) from error

    train, test = read_parts(get, ending, findings)
    return draft_of("cifar10", arranged(train, test, CLASSES, val=HELD_OUT, seed=seed), CLASSES)


def read_parts(get: Callable[[str], tuple[str, bytes]], ending: str, findings: Findings) -> tuple[Part, Part]:
    """The training and test images of the batches whose names end so; `get` returns a file's full name and content.

    Raises what `get` raises, and `ArchiveError` (`archive_damaged`) for a batch that holds anything else.
    """
    decode = _of_pickle if ending == "" else _of_records

    def part(name: str) -> Part:
        place, content = get(name + ending)
        try:
            return decode(content)
        except MemoryError:
            raise
        except Exception as error:  # hostile bytes: the unpickler raises every kind
            message = f"is no batch of CIFAR-10: {str(error)[:200] or type(error).__name__}"
            raise findings.fatal("archive_damaged", place, message) from error

    parts = [part(name) for name in _TRAIN]
    train = Part(np.concatenate([each.images for each in parts]), np.concatenate([each.labels for each in parts]))
    return train, part(TEST)


def _ending(tree: Tree) -> str | None:
    return next((end for end in ENDINGS if tree.nearest(_TRAIN[0] + end) and tree.nearest(TEST + end)), None)


def _of_pickle(content: bytes) -> Part:
    """`data` is uint8 (N, 3072), planes of red, green and blue; `labels` a list of N numbers."""
    batch = read_plain_pickle(content)
    if not isinstance(batch, dict):
        raise TypeError("it holds no dict")
    data, labels = batch[b"data"], batch[b"labels"]
    if not isinstance(data, ByteArray) or data.values is None:
        raise TypeError("its data is no array of bytes")
    # Looked at one by one: nested lists, shared a thousand times, would keep NumPy busy for years.
    if type(labels) is not list or not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels):
        raise TypeError("its labels are no list of numbers from 0 to 9")
    return _part(data.values.reshape(len(labels), _PIXELS), np.array(labels, dtype=np.int64))


def _of_records(content: bytes) -> Part:
    """Records of a label and the same planes."""
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + _PIXELS)
    if not len(records) or records[:, 0].max() >= len(CLASSES):
        raise ValueError("its labels are not 0 to 9")
    return _part(records[:, 1:], records[:, 0].astype(np.int64))


def _part(
    rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]], labels: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Part:
    return Part(rows.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1), labels)
