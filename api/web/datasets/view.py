"""What the page of a data set shows of its counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from persistence.tables import Dataset, DatasetImage

Part = Literal["classes", "groups"]
_DOT: Final = " · "
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
    """A table of counts: splits across, classes or groups down; `many` rows, of which some may be left out."""

    splits: list[str]
    totals: list[int]
    rows: list[Row]
    many: int


def counts(dataset: Dataset, part: Part, most: int | None = None) -> Counts | None:
    """The table of one part of the summary, of `most` rows; None where the data set has no such part."""
    splits: dict[str, dict[str, Any]] = (dataset.summary or {}).get("splits", {})
    ordered = sorted(splits, key=split_order)
    names = list(dict.fromkeys(name for split in ordered for name in splits[split].get(part) or ()))
    if not names:
        return None
    if part == "classes":
        rows = [Row(name, [_class(splits[split], name) for split in ordered]) for name in dataset.classes]
    else:
        places = {name: place for place, name in enumerate(dataset.classes)}
        owners = {name: class_of(name, places) for name in names}
        # Class by class: the database keeps the keys of JSON in an order of its own.
        by_class = sorted(owners.items(), key=lambda item: places.get(item[1], len(places)))
        rows = _groups([splits[split] for split in ordered], dict(by_class))
    many = len(rows)
    if most is not None and many > most:
        # The marked ones first: they are what the table is looked at for.
        rows = sorted(rows, key=lambda row: not any(cell.small for cell in row.cells))[:most]
    return Counts(ordered, [int(splits[split].get("count", 0)) for split in ordered], rows, many)


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


def _class(split: dict[str, Any], name: str) -> Cell:
    return Cell(int((split.get("classes") or {}).get(name, 0)), int(split.get("count", 0)), small=False)


def _groups(splits: list[dict[str, Any]], owners: Mapping[str, str]) -> list[Row]:
    """A row for each group; `owners` names its class."""
    columns: list[dict[str, Cell]] = []
    for split in splits:
        found: dict[str, int] = split.get("groups") or {}
        totals: dict[str, int] = {}
        for group, owner in owners.items():
            totals[owner] = totals.get(owner, 0) + int(found.get(group, 0))
        columns.append({group: _group(int(found.get(group, 0)), totals[owner]) for group, owner in owners.items()})
    return [Row(group, [column[group] for column in columns]) for group in owners]


def _group(count: int, total: int) -> Cell:
    return Cell(count, total, small=0 < count < SMALL * total)


def class_of(group: str, known: Collection[str]) -> str:
    """The class in a group's name, "5-9 · square=yes" → "5-9": the longest one known, as values may hold a dot too."""
    name = group.rpartition(_DOT)[0]
    while name and name not in known:
        name = name.rpartition(_DOT)[0]
    return name


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
