"""Kaggle's Cats vs Dogs, as in its train.zip: the class is in the file's name, `train/cat.0.jpg`."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from masktune_core.intake.findings import Findings
from masktune_core.intake.pictures import HELD_OUT
from masktune_core.intake.plan import Draft
from masktune_core.intake.splits import three_splits
from masktune_core.intake.tree import Tree

CLASSES: Final = ("cat", "dog")
FILE: Final = re.compile(r"(?:.*/)?(cat|dog)\.[0-9]+\.jpe?g", re.IGNORECASE)
_WITHOUT_LABELS: Final = ("test", "test1")


def recognises(tree: Tree) -> bool:
    """Cats and dogs by number in one folder; beside it at most those that Kaggle does not name."""
    folders, classes = set(), set()
    for _, name in tree.named_images():
        folder = name.rpartition("/")[0]
        match = FILE.fullmatch(name)
        if match is not None:
            folders.add(folder)
            classes.add(match[1].lower())
        if len(folders) > 1 or (match is None and folder.rpartition("/")[2] not in _WITHOUT_LABELS):
            return False
    return classes == set(CLASSES)


def read(tree: Tree, findings: Findings, seed: int) -> Draft:
    """Each class is split by the seed: a fifth for the test, of the rest a fifth for validation."""
    found = []
    for position, name in tree.named_images():
        match = FILE.fullmatch(name)
        if match is None:
            findings.warning("files_ignored", name, "has no class in its name and was left out")
        else:
            found.append((position, match[1].lower()))
    labels = np.array([CLASSES.index(label) for _, label in found], dtype=np.int64)
    draft = Draft("cats_vs_dogs", tree, classes=CLASSES)
    splits = three_splits(labels, test=HELD_OUT, val=HELD_OUT, seed=seed)
    for (position, label), split in zip(found, splits, strict=True):
        draft.add(position, split, label)
    return draft
