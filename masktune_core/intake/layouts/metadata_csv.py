"""`metadata.csv` with file_name, label, split; further columns are attributes (Hugging Face ImageFolder habit)."""

from __future__ import annotations

from typing import Final

from masktune_core.intake.findings import Findings
from masktune_core.intake.layouts import waterbirds
from masktune_core.intake.layouts.listed import Listed
from masktune_core.intake.plan import Draft
from masktune_core.intake.splits import split_name
from masktune_core.intake.table import header_of, open_table
from masktune_core.intake.tree import Tree

NAME: Final = "metadata.csv"
_REQUIRED: Final = ("file_name", "label", "split")
# Facts about the file, which our own archives state, and no attributes.
_NOT_ATTRIBUTES: Final = (*_REQUIRED, "width", "height")

_MOST_ATTRIBUTES: Final = 100


def recognises(tree: Tree) -> bool:
    """A metadata.csv that is not in the form of WILDS."""
    if NAME not in tree:
        return False
    return set(_REQUIRED) <= set(header_of(tree, NAME)) or not waterbirds.recognises(tree)


def read(tree: Tree, findings: Findings) -> Draft:
    """Take every row whose file, label and split are in order; note the others."""
    table = open_table(tree, NAME, findings)
    attributes = tuple(dict.fromkeys(column for column in table.columns if column not in _NOT_ATTRIBUTES and column))
    draft = Draft("metadata_csv", tree, attributes[:_MOST_ATTRIBUTES])
    missing = table.lacks(*_REQUIRED)
    if not table.has_once(*dict.fromkeys(table.columns)):
        return draft
    if len(attributes) > _MOST_ATTRIBUTES:
        most = f"at most {_MOST_ATTRIBUTES} can be read: remove the others"
        message = f"has {len(attributes):,} columns of attributes; {most}"
        findings.error("metadata_invalid", NAME, message)
        return draft
    for column in missing:
        code = "missing_split" if missing == ["split"] else "metadata_invalid"
        message = f"has no column {column!r}; it needs {', '.join(_REQUIRED)}"
        findings.error(code, NAME, message)
    if missing:
        return draft
    name_at, label_at, split_at = (table.columns.index(column) for column in _REQUIRED)
    attributes_at = [table.columns.index(column) for column in attributes]
    listed = Listed(tree, findings)
    for row in table.rows():
        where = f"{NAME}:{row.line}"
        position = listed.find(row.cells[name_at], where)
        label, split = row.cells[label_at], split_name(row.cells[split_at])
        if not label:
            findings.error("metadata_invalid", where, "has no label")
        if split is None and not row.cells[split_at]:
            findings.error("missing_split", where, "has no split: use train, val, test or test:<name>")
        elif split is None:
            text = row.cells[split_at][:100]
            findings.error("split_unknown", where, f"split {text!r} is none of train, val, test, test:<name>")
        if position is not None and label and split is not None:
            draft.add(position, split, label, tuple(row.cells[column] for column in attributes_at))
    listed.report_others(NAME)
    return draft
