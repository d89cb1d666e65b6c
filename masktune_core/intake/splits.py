"""Names of splits, and a seeded split for data that has none."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from masktune_core.data.philox import shuffled

_ALIASES: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_NAMED_TEST: Final = re.compile(r"test:[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}\Z")
_TEST_FOLDER: Final = re.compile(r"test[_:-](.+)\Z")
VAL_SHARE: Final = 0.1
TEST_SHARE: Final = 0.2


def split_name(text: str) -> str | None:
    """train, val, test or test:<name> for what a table says, or None if it is neither."""
    known = _ALIASES.get(text.lower())
    return known or (text if _NAMED_TEST.match(text) else None)


def split_of_folder(folder: str) -> str | None:
    """The same for a folder; `test_<name>` and `test-<name>` stand for `test:<name>`, which not every disk can hold."""
    named = _TEST_FOLDER.match(folder)
    return split_name(f"test:{named[1]}" if named else folder)


def seeded_splits(names: Sequence[str], labels: Sequence[str], seed: int) -> list[str]:
    """Split each class 70/10/20 into train, val and test.

    An image's place depends on the seed, its name and its class's size, so adding a class moves nothing else.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        members[label].append(position)
    splits = ["train"] * len(names)
    for positions in members.values():
        order = sorted(positions, key=lambda position: hashlib.sha256(f"{seed}/{names[position]}".encode()).digest())
        test, val = (max(round(share * len(order)), 1) for share in (TEST_SHARE, VAL_SHARE))
        if len(order) < 3:
            val, test = 0, len(order) - 1
        for position in order[:test]:
            splits[position] = "test"
        for position in order[test : test + val]:
            splits[position] = "val"
    return splits


def hold_out(labels: NDArray[np.int64], share: float, *, seed: int) -> NDArray[np.bool_]:
    """Which of N samples to set aside: the same share of each class, drawn by `seed`; at least one each if any."""
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels) if share > 0.0 else ():
        members = shuffled(np.flatnonzero(labels == label), seed=seed, epoch=0)
        chosen[members[: max(1, round(share * len(members)))]] = True
    return chosen


def three_splits(labels: NDArray[np.int64], *, test: float, val: float, seed: int) -> list[str]:
    """A split for each of N samples: test is a share of each class, val a share of the rest, train what is left."""
    splits = np.where(hold_out(labels, test, seed=seed), "test", "train")
    rest = np.flatnonzero(splits == "train")
    splits[rest[hold_out(labels[rest], val, seed=seed)]] = "val"
    return list(map(str, splits))
