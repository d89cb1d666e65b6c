"""Plain folders `class/image`, split by a seed."""

from __future__ import annotations

from masktune_core.intake.findings import Findings
from masktune_core.intake.plan import Draft
from masktune_core.intake.splits import seeded_splits
from masktune_core.intake.tree import Tree, is_image


def recognises(tree: Tree) -> bool:
    """Every image lies in a folder, and none deeper."""
    return len(tree.images) > 0 and all(name.count("/") == 1 for _, name in tree.named_images())


def read(tree: Tree, findings: Findings, seed: int) -> Draft:
    """70 % of each class for training, 10 % for validation, 20 % for the test."""
    for name in tree.names():
        if not is_image(name):
            findings.warning("files_ignored", name, "no image in a class folder and left out")
    names = [name for _, name in tree.named_images()]
    folders: dict[str, str] = {}  # one string a class, not one an image
    labels = [folders.setdefault(label, label) for label in (name.partition("/")[0] for name in names)]
    draft = Draft("class_folders", tree)
    for position, split, label in zip(tree.images.tolist(), seeded_splits(names, labels, seed), labels, strict=True):
        draft.add(position, split, label)
    return draft
