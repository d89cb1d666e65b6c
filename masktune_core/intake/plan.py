"""From what a layout read to what will be written: coded labels and attributes, checked splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from masktune_core.data.archive import Attribute, order_splits
from masktune_core.intake.findings import Findings
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import Member
from masktune_core.intake.names import printable
from masktune_core.intake.tree import Tree

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}\Z")
# Beyond this a column describes single images, not kinds of images.
_MOST_VALUES: Final = 100
# Longest names, in characters: a group's name is made of all three, and has to fit a column of 200.
_LONGEST_CLASS: Final = 80
_LONGEST_ATTRIBUTE: Final = 50
_LONGEST_VALUE: Final = 60


class DraftRow(NamedTuple):
    """One image as a layout names it. An empty attribute is unknown."""

    name: str
    split: str
    label: str
    attributes: tuple[str, ...] = ()


@dataclass
class Draft:
    """What a layout found. `classes` and `values` fix an order; otherwise names are sorted, integers by value."""

    layout: str
    rows: list[DraftRow]
    attributes: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class PlanRow(NamedTuple):
    """One image to be written."""

    name: str
    member: Member
    split: str
    label: int
    attributes: tuple[int, ...]


class Plan(NamedTuple):
    """Images in the order of the index, which is that of their names."""

    layout: str
    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    rows: list[PlanRow]


def make_plan(draft: Draft, tree: Tree, findings: Findings, limits: IntakeLimits) -> Plan:
    """Check a draft as a whole and code its names; what is wrong is noted in `findings`.

    Raises `ArchiveError` for more classes than `limits` allow.
    """
    classes = draft.classes or _ordered({row.label for row in draft.rows})
    if len(classes) > limits.max_classes:
        message = (
            f"the data set has {len(classes):,} classes; the limit is {limits.max_classes:,}: a label names a kind of "
            "images, not a single one; join the rare ones under one name, or leave their images out"
        )
        raise findings.fatal("too_many_classes", "label", message)
    _check_names("class", classes, _LONGEST_CLASS, findings)
    label_of = {name: position for position, name in enumerate(classes)}
    columns: list[int] = []
    attributes: list[Attribute] = []
    for column, name in enumerate(draft.attributes):
        found = {row.attributes[column] for row in draft.rows} - {""}
        if len(found) > _MOST_VALUES:
            shown = printable(name)
            message = f"the column '{shown}' has more than {_MOST_VALUES} values and was left out as an attribute"
            findings.warning("attribute_ignored", shown, message)
        elif len(found) * len(classes) > limits.max_groups:
            shown = printable(name)
            message = (
                f"the column '{shown}' would make {len(found) * len(classes):,} groups (classes × values), more than "
                f"{limits.max_groups:,}, and was left out as an attribute"
            )
            findings.warning("attribute_ignored", shown, message)
        elif found:
            _check_names("attribute", [name], _LONGEST_ATTRIBUTE, findings)
            _check_names(f"value of {printable(name)}", sorted(found), _LONGEST_VALUE, findings)
            columns.append(column)
            attributes.append(Attribute(name, draft.values.get(name) or _ordered(found)))
    value_of = [{value: position for position, value in enumerate(a.values)} | {"": -1} for a in attributes]
    rows = [
        PlanRow(
            row.name,
            tree.files[row.name],
            row.split,
            label_of[row.label],
            tuple(known[row.attributes[column]] for known, column in zip(value_of, columns, strict=True)),
        )
        for row in sorted(draft.rows)
    ]
    _check_splits(rows, classes, findings)
    return Plan(draft.layout, classes, tuple(attributes), rows)


def _check_splits(rows: Sequence[PlanRow], classes: Sequence[str], findings: Findings) -> None:
    if not rows:
        if not findings.failed:
            findings.error("archive_empty", "", "the archive holds no images")
        return
    splits = order_splits([row.split for row in rows])
    if "train" not in splits:
        findings.error("missing_split", "train", f"no image is in the split train; found: {', '.join(splits)}")
    if not any(split == "test" or split.startswith("test:") for split in splits):
        message = f"no image is in a split test or test:<name>; found: {', '.join(splits)}"
        findings.error("missing_split", "test", message)
    if "val" not in splits:
        message = "no image is in the split val: no epoch can be selected and no reject threshold chosen"
        findings.warning("val_missing", "val", message)
    trained = {row.label for row in rows if row.split == "train"}
    used = trained if "train" in splits else {row.label for row in rows}
    if len(used) < 2:
        only = ", ".join(classes[label] for label in sorted(used))
        findings.error("one_class", "label", f"a classifier needs two classes to train on, found only {only!r}")


def _check_names(kind: str, names: Sequence[str], longest: int, findings: Findings) -> None:
    for name in names:
        if len(name) > longest:
            findings.error("metadata_invalid", printable(name), f"a {kind} name has at most {longest} characters")
        elif not name.isprintable():
            findings.error("metadata_invalid", printable(name), f"a {kind} name has control characters")


def _ordered(names: set[str]) -> tuple[str, ...]:
    if all(_INTEGER.match(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
