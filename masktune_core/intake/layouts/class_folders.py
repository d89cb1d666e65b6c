"""Plain folders `class/image`, split by a seed."""

from __future__ import annotations

from masktune_core.intake.findings import Findings
from masktune_core.intake.plan import Draft, DraftRow
from masktune_core.intake.splits import seeded_splits
from masktune_core.intake.tree import Tree


def recognises(tree: Tree) -> bool:
    """Every image lies in a folder, and none deeper."""
    return bool(tree.images) and all(name.count("/") == 1 for name in tree.images)


def read(tree: Tree, findings: Findings, seed: int) -> Draft:
    """70 % of each class for training, 10 % for validation, 20 % for the test."""
    for name in sorted(tree.files.keys() - set(tree.images)):
        findings.warning("files_ignored", name, "no image in a class folder and left out")
    names = tree.images
    labels = [name.split("/", 1)[0] for name in names]
    splits = seeded_splits(names, labels, seed)
    return Draft("class_folders", [DraftRow(*row) for row in zip(names, splits, labels, strict=True)])
