"""Plain folders `split/class/image`; below a class folder there may be more folders."""

from __future__ import annotations

from masktune_core.intake.findings import Findings
from masktune_core.intake.plan import Draft
from masktune_core.intake.splits import split_of_folder
from masktune_core.intake.tree import Tree, is_image


def recognises(tree: Tree) -> bool:
    """An image at least two folders deep, below one that is named like a split."""
    return any(name.count("/") >= 2 and split_of_folder(name.partition("/")[0]) for _, name in tree.named_images())


def read(tree: Tree, findings: Findings) -> Draft:
    """Folders train, val, test (or their usual other names) and test_<name>; a folder of another name is an error."""
    draft, strangers = Draft("split_folders", tree), set()
    for position, name in enumerate(tree.names()):
        parts = name.split("/")
        if not is_image(name) or len(parts) < 3:
            findings.warning("files_ignored", name, "no image in a folder split/class and left out")
            continue
        split = split_of_folder(parts[0])
        if split is not None:
            draft.add(position, split, parts[1])
        elif parts[0] not in strangers:
            strangers.add(parts[0])
            message = "is a folder of images beside the splits: name it train, val, test or test_<name>"
            findings.error("split_unknown", parts[0], message)
    return draft
