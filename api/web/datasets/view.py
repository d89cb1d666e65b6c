"""What the page of a data set shows of its counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from persistence.tables import Dataset, DatasetImage

Part = Literal["classes", "groups"]
_TILE: Final = 256  # pixels, twice what a tile is wide on the page
SMALL: Final = 0.1
"""Below this share of its class in a split a group is marked: what holds for the others costs little training loss."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How many images of one split, out of how many; `small` marks a group that goes against its class."""

    count: int
    total: int
    small: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A class or a group, and its cell in every split."""

    name: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Counts:
    """A table of counts: splits across, classes or groups down."""

    splits: list[str]
    totals: list[int]
    rows: list[Row]


def counts(dataset: Dataset, part: Part) -> Counts | None:
    """The table of one part of the summary; None where the data set has no such part."""
    splits: dict[str, dict[str, Any]] = (dataset.summary or {}).get("splits", {})
    ordered = sorted(splits, key=split_order)
    names = list(dict.fromkeys(name for split in ordered for name in splits[split].get(part) or ()))
    if not names:
        return None
    totals = [_totals(splits[split], part) for split in ordered]
    rows = [
        Row(name, [_cell(splits[split], part, name, total) for split, total in zip(ordered, totals, strict=True)])
        for name in (dataset.classes if part == "classes" else names)
    ]
    return Counts(ordered, [int(splits[split].get("count", 0)) for split in ordered], rows)


def how_many(dataset: Dataset, *, split: str = "", label: int | None = None) -> int:
    """Images of a split and class, of all where they are left open, as counted when the data set was checked."""
    splits: dict[str, dict[str, Any]] = (dataset.summary or {}).get("splits", {})
    chosen = [part for name, part in splits.items() if split in ("", name)]
    if label is None:
        return sum(int(part.get("count", 0)) for part in chosen)
    name = dataset.classes[label] if label < len(dataset.classes) else None
    return sum(int((part.get("classes") or {}).get(name, 0)) for part in chosen)


def split_order(split: str) -> tuple[int, str]:
    """train, val, test, then the named test sets."""
    known = ("train", "val", "test")
    return (known.index(split) if split in known else len(known), split)


def _cell(split: dict[str, Any], part: Part, name: str, totals: dict[str, int]) -> Cell:
    found: dict[str, int] = split.get(part) or {}
    count = int(found.get(name, 0))
    if part == "classes":
        return Cell(count, int(split.get("count", 0)), small=False)
    total = totals.get(class_of(name), 0)
    return Cell(count, total, small=0 < count < SMALL * total)


def _totals(split: dict[str, Any], part: Part) -> dict[str, int]:
    """Images of each class, added up over its groups."""
    totals: dict[str, int] = {}
    if part == "groups":
        for group, count in (split.get(part) or {}).items():
            totals[class_of(group)] = totals.get(class_of(group), 0) + int(count)
    return totals


def class_of(group: str) -> str:
    """The class in a group's name, "5-9 · square=yes" → "5-9"."""
    return group.rpartition(" · ")[0]


@dataclass(frozen=True, slots=True)
class Tile:
    """One image in the grid; `url` is the API's."""

    url: str
    name: str
    class_name: str
    attributes: dict[str, str | None]
    width: int
    height: int


def tile(dataset: Dataset, image: DatasetImage) -> Tile:
    """An image as the grid shows it."""
    return Tile(
        url=f"/v1/datasets/{dataset.id}/images/{image.index}?max_side={_TILE}",
        name=image.name,
        class_name=dataset.classes[image.label],
        attributes={
            attribute["name"]: None if value is None else attribute["values"][value]
            for attribute, value in zip(dataset.attributes, image.attributes, strict=True)
        },
        width=image.width,
        height=image.height,
    )
