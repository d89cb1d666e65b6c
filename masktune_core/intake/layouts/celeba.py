"""CelebA as on Kaggle: `list_attr_celeba.csv` (-1/1) and `list_eval_partition.csv` (0, 1, 2) beside the images."""

from __future__ import annotations

from typing import Final

from masktune_core.config_intake import CelebaOptions
from masktune_core.intake.findings import Findings
from masktune_core.intake.plan import Draft
from masktune_core.intake.table import open_table
from masktune_core.intake.tree import Tree

_ATTRIBUTES: Final = "list_attr_celeba.csv"
_PARTITION: Final = "list_eval_partition.csv"
_ID: Final = "image_id"
_SPLITS: Final = {"0": "train", "1": "val", "2": "test"}
_VALUES: Final = {"-1": "no", "0": "no", "1": "yes"}


def recognises(tree: Tree) -> bool:
    """Both tables are there."""
    return _ATTRIBUTES in tree and _PARTITION in tree


def read(tree: Tree, findings: Findings, options: CelebaOptions) -> Draft:
    """Classes are "not <target>" and "<target>"; the attribute reads no or yes."""
    classes = (f"not {options.target}", options.target)
    draft = Draft("celeba", tree, (options.attribute,), classes, {options.attribute: ("no", "yes")})
    split_of = _read_partition(tree, findings)
    table = open_table(tree, _ATTRIBUTES, findings)
    missing = table.lacks(_ID, options.target, options.attribute)
    if missing:
        findings.error("metadata_invalid", _ATTRIBUTES, f"has no column {', '.join(missing)}")
        return draft
    if not table.has_once(_ID, options.target, options.attribute):
        return draft
    id_at, target_at, attribute_at = (table.columns.index(c) for c in (_ID, options.target, options.attribute))
    # The pictures lie below img_align_celeba/, once or twice, depending on who packed them.
    position_of: dict[str, int] = {}
    for position, name in tree.named_images():
        position_of.setdefault(name.rpartition("/")[2], position)
    seen: set[str] = set()
    for row in table.rows():
        where, image = f"{_ATTRIBUTES}:{row.line}", row.cells[id_at]
        target, attribute = _VALUES.get(row.cells[target_at]), _VALUES.get(row.cells[attribute_at])
        split = split_of.get(image)
        if image in seen:
            findings.error("duplicate_name", where, f"names {image[:100]!r} a second time")
            continue
        seen.add(image)
        if target is None or attribute is None:
            findings.error("metadata_invalid", where, f"{options.target} and {options.attribute} must be -1 or 1")
        elif split is None:
            findings.error("missing_split", where, f"{image[:100]!r} has no line in {_PARTITION}")
        elif image not in position_of:
            findings.error("missing_file", where, f"names {image[:100]!r}, which is not in the archive")
        else:
            draft.add(position_of[image], split, classes[target == "yes"], (attribute,))
    return draft


def _read_partition(tree: Tree, findings: Findings) -> dict[str, str]:
    table = open_table(tree, _PARTITION, findings)
    missing = table.lacks(_ID, "partition")
    if missing:
        findings.error("metadata_invalid", _PARTITION, f"has no column {', '.join(missing)}")
        return {}
    if not table.has_once(_ID, "partition"):
        return {}
    id_at, partition_at = table.columns.index(_ID), table.columns.index("partition")
    splits = {}
    for row in table.rows():
        split = _SPLITS.get(row.cells[partition_at])
        if split is None:
            cell = row.cells[partition_at][:100]
            findings.error("split_unknown", f"{_PARTITION}:{row.line}", f"partition is {cell!r}, not 0, 1 or 2")
        else:
            splits[row.cells[id_at]] = split
    return splits
