"""From what a layout read to what will be written: coded labels and attributes, checked splits."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masktune_core.data.archive import Attribute, order_splits
from masktune_core.intake.findings import Findings
from masktune_core.intake.hints import hint
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.names import printable
from masktune_core.intake.tree import Tree

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}\Z")
# Beyond this a column describes single images, not kinds of images.
_MOST_VALUES: Final = 100
# Longest names, in characters: a group's name is made of all three, and has to fit a column of 200.
_LONGEST_CLASS: Final = 80
_LONGEST_ATTRIBUTE: Final = 50
_LONGEST_VALUE: Final = 60
_CHUNK: Final = 4096  # rows that are Python numbers at a time


class Coded:
    """A column of names, each kept once: `codes` index `names`, in the order in which these first came.

    With more than `most` names it is `overfull` and takes in no more.
    """

    def __init__(self, most: int | None = None) -> None:
        self.codes = array("i")
        self._code_of: dict[str, int] = {}
        self._most = most

    def add(self, name: str) -> None:
        """The next row's name."""
        if not self.overfull:
            self.codes.append(self._code_of.setdefault(name, len(self._code_of)))

    @property
    def names(self) -> list[str]:
        """Every name that came, in order."""
        return list(self._code_of)

    @property
    def overfull(self) -> bool:
        """Whether too many names came."""
        return self._most is not None and len(self._code_of) > self._most

    def recoded(self, code_of: Mapping[str, int]) -> NDArray[np.int32]:
        """The column with other codes."""
        table = np.array([code_of[name] for name in self._code_of], dtype=np.int32)
        return table[np.array(self.codes, dtype=np.int64)] if len(table) else np.empty(0, np.int32)


class Draft:
    """What a layout found, in columns. `classes` and `values` fix an order; otherwise names are sorted, integers by
    value. `tree` is where the images lie."""

    def __init__(
        self,
        layout: str,
        tree: Tree,
        attributes: tuple[str, ...] = (),
        classes: tuple[str, ...] | None = None,
        values: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.layout, self.tree, self.attributes = layout, tree, attributes
        self.classes, self.values = classes, values or {}
        self.positions = array("q")
        self.splits, self.labels = Coded(), Coded()
        # One more for the empty name, which stands for unknown.
        self.columns = tuple(Coded(_MOST_VALUES + 1) for _ in attributes)

    def add(self, position: int, split: str, label: str, attributes: tuple[str, ...] = ()) -> None:
        """One image, by its position in the tree. An empty attribute is unknown."""
        self.positions.append(position)
        self.splits.add(split)
        self.labels.add(label)
        for column, value in zip(self.columns, attributes, strict=True):
            column.add(value)

    def __len__(self) -> int:
        return len(self.positions)


class PlanRow(NamedTuple):
    """One image to be written: its name, its position in the tree, and its codes."""

    name: str
    position: int
    split: str
    label: int
    attributes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """N images in the order of the index, which is that of their names; A attributes.

    `positions` int64 (N,) find them in `tree`; `split` (N,) indexes `split_names`, `label` (N,) `classes`, `values`
    (N, A) the values of each attribute, -1 where unknown.
    """

    layout: str
    tree: Tree
    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    split_names: tuple[str, ...]
    positions: NDArray[np.int64]
    split: NDArray[np.int32]
    label: NDArray[np.int32]
    values: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.positions)

    def names(self) -> Iterator[str]:
        """The names of all images, in order."""
        return (self.tree.name(position) for position in self.positions)

    def rows(self) -> Iterator[PlanRow]:
        """The images, made one at a time."""
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            columns = (self.positions, self.split, self.label, self.values)
            for position, split, label, values in zip(*(column[part].tolist() for column in columns), strict=True):
                yield PlanRow(self.tree.name(position), position, self.split_names[split], label, tuple(values))


def make_plan(draft: Draft, findings: Findings, limits: IntakeLimits) -> Plan:
    """Check a draft as a whole and code its names; what is wrong is noted in `findings`.

    Raises `ArchiveError` for more classes than `limits` allow.
    """
    classes = draft.classes or _ordered(set(draft.labels.names))
    if len(classes) > limits.max_classes:
        message = (
            f"the data set has {len(classes):,} classes; the limit is {limits.max_classes:,}: a label names a kind of "
            "images, not a single one; join the rare ones under one name, or leave their images out"
        )
        raise findings.fatal("too_many_classes", "label", message)
    _check_names("class", classes, _LONGEST_CLASS, findings)
    attributes: list[Attribute] = []
    values: list[NDArray[np.int32]] = []
    for name, column in zip(draft.attributes, draft.columns, strict=True):
        found = set(column.names) - {""}
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
            attribute = Attribute(name, draft.values.get(name) or _ordered(found))
            attributes.append(attribute)
            values.append(column.recoded({value: code for code, value in enumerate(attribute.values)} | {"": -1}))
    splits = order_splits(draft.splits.names)
    order = np.argsort(np.array(draft.positions, dtype=np.int64))
    plan = Plan(
        layout=draft.layout,
        tree=draft.tree,
        classes=classes,
        attributes=tuple(attributes),
        split_names=splits,
        positions=np.array(draft.positions, dtype=np.int64)[order],
        split=draft.splits.recoded({name: code for code, name in enumerate(splits)})[order],
        label=draft.labels.recoded({name: code for code, name in enumerate(classes)})[order],
        values=np.stack(values, axis=1)[order] if values else np.empty((len(draft), 0), dtype=np.int32),
    )
    _check_splits(plan, findings)
    return plan


def _check_splits(plan: Plan, findings: Findings) -> None:
    if not len(plan):
        if not findings.failed:
            findings.error("archive_empty", "", "the archive holds no images")
        return
    splits = plan.split_names
    if "train" not in splits:
        findings.error("missing_split", "train", f"no image is in the split train; found: {', '.join(splits)}")
    if not any(split == "test" or split.startswith("test:") for split in splits):
        message = f"no image is in a split test or test:<name>; found: {', '.join(splits)}"
        findings.error("missing_split", "test", message)
    if "val" not in splits:
        message = "no image is in the split val: no epoch can be selected and no reject threshold chosen"
        findings.warning("val_missing", "val", message)
    used = np.unique(plan.label[plan.split == splits.index("train")] if "train" in splits else plan.label)
    if len(used) < 2:
        only = ", ".join(plan.classes[label] for label in used)
        message = f"a classifier needs two classes to train on, found only {only!r}; {hint(plan.tree)}"
        findings.error("one_class", "label", message)


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
