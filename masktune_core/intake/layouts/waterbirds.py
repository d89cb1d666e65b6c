"""Waterbirds as WILDS ships it: `metadata.csv` with img_filename, y, split, place (all but the first 0, 1, 2)."""

from __future__ import annotations

from typing import Final

from masktune_core.intake.findings import Findings
from masktune_core.intake.layouts.listed import Listed
from masktune_core.intake.plan import Draft
from masktune_core.intake.table import header_of, open_table
from masktune_core.intake.tree import Tree

_NAME: Final = "metadata.csv"
_COLUMNS: Final = ("img_filename", "y", "split", "place")
_CLASSES: Final = ("landbird", "waterbird")
_PLACES: Final = ("land", "water")
_SPLITS: Final = ("train", "val", "test")


def recognises(tree: Tree) -> bool:
    """A metadata.csv with WILDS' columns."""
    return set(_COLUMNS) <= set(header_of(tree, _NAME))


def read(tree: Tree, findings: Findings) -> Draft:
    """Label = y, attribute `place`; splits 0, 1, 2 are train, val, test."""
    table = open_table(tree, _NAME, findings)
    draft = Draft("waterbirds", tree, ("place",), _CLASSES, {"place": _PLACES})
    if not table.has_once(*_COLUMNS):
        return draft
    name_at, y_at, split_at, place_at = (table.columns.index(column) for column in _COLUMNS)
    listed = Listed(tree, findings)
    for row in table.rows():
        where = f"{_NAME}:{row.line}"
        position = listed.find(row.cells[name_at], where)
        label = _decode(row.cells[y_at], _CLASSES, "metadata_invalid", "y", where, findings)
        split = _decode(row.cells[split_at], _SPLITS, "split_unknown", "split", where, findings)
        place = _decode(row.cells[place_at], _PLACES, "metadata_invalid", "place", where, findings)
        if position is not None and label is not None and split is not None and place is not None:
            draft.add(position, split, label, (place,))
    listed.report_others(_NAME)
    return draft


def _decode(cell: str, names: tuple[str, ...], code: str, column: str, where: str, findings: Findings) -> str | None:
    if cell in map(str, range(len(names))):
        return names[int(cell)]
    findings.error(code, where, f"{column} is {cell[:100]!r}, not one of 0 to {len(names) - 1}")
    return None
