"""The Backgrounds Challenge (Xiao et al. 2020): eight variants of ImageNet-9's test set, and IN-9L or IN-9 to train on.

original|mixed_same|mixed_rand|mixed_next|only_fg|no_fg|only_bg_b|only_bg_t/[val/]<class>/<image>   → test:<variant>
in9l/train/<class>/<image>, in9l/val/…  or  train/…, val/…  or  original/train/…                    → train, val
"""

from __future__ import annotations

import re
from typing import Final

from masktune_core.intake.findings import Findings
from masktune_core.intake.plan import Draft
from masktune_core.intake.tree import Tree

VARIANTS: Final = (
    "original",
    "mixed_same",
    "mixed_rand",
    "mixed_next",
    "only_fg",
    "no_fg",
    "only_bg_b",
    "only_bg_t",
)
_TRAINING: Final = ("in9l", "in9")
# Class folders are numbered: 00_dog, 01_bird, …
_NUMBERED: Final = re.compile(r"[0-9]{2}_(?=.)")


def recognises(tree: Tree) -> bool:
    """Two of the variants' folders, so that a class folder of that name by chance is no Backgrounds Challenge."""
    return len({name.partition("/")[0] for name in tree.names()} & set(VARIANTS)) >= 2


def read(tree: Tree, findings: Findings) -> Draft:
    """Classes in the order of their folder numbers."""
    own_training = any(
        name.startswith(("train/", *(f"{folder}/train/" for folder in _TRAINING))) for _, name in tree.named_images()
    )
    folders = {place[1] for _, name in tree.named_images() if (place := _place(name.split("/"), own_training))}
    classes = tuple(dict.fromkeys(_NUMBERED.sub("", folder) for folder in sorted(folders)))
    draft = Draft("backgrounds_challenge", tree, classes=classes or None)
    for position, name in tree.named_images():
        place = _place(name.split("/"), own_training)
        if place is None:
            findings.warning("files_ignored", name, "in no folder of the Backgrounds Challenge and left out")
        else:
            split, folder = place
            draft.add(position, split, _NUMBERED.sub("", folder))
    return draft


def _place(parts: list[str], own_training: bool) -> tuple[str, str] | None:
    """Split and class folder of a file, or None if it belongs nowhere."""
    match parts:
        case [folder, ("train" | "val") as split, label, _] if folder in _TRAINING:
            return split, label
        case [("train" | "val") as split, label, _]:
            return split, label
        case ["original", "train", label, _] if not own_training:
            return "train", label
        case [variant, ("val" | "test"), label, _] if variant in VARIANTS:
            return f"test:{variant}", label
        case [variant, label, _] if variant in VARIANTS:
            return f"test:{variant}", label
    return None
