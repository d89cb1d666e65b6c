"""CSV tables, inside an archive or of a download."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from masktune_core.intake.findings import Findings
from masktune_core.intake.members import MemberError
from masktune_core.intake.names import printable
from masktune_core.intake.tree import Tree


class Row(NamedTuple):
    """One line: its number in the file (the header is 1) and its cells, stripped, one per column."""

    line: int
    cells: list[str]


class Table:
    """A UTF-8, comma-separated file with a header. Broken lines are noted, and the rest is used.

    `content` is decoded piece by piece as it is read: as one text, and in Python's buffers, it would be several times
    as large.
    """

    def __init__(self, content: bytes, name: str, findings: Findings) -> None:
        self.name = name
        self._findings = findings
        self._content = content
        first = next(self._lines(), None)
        self.columns: list[str] = [cell.strip() for cell in first.cells] if first else []

    def lacks(self, *columns: str) -> list[str]:
        """Which of `columns` the header does not have."""
        return [column for column in columns if column not in self.columns]

    def has_once(self, *columns: str) -> bool:
        """Whether the header has none of `columns` twice; what it has twice is noted."""
        counts = Counter(self.columns)
        twice = [column for column in columns if counts[column] > 1]
        if twice:
            self._findings.error("metadata_invalid", self.name, f"names a column twice: {printable(', '.join(twice))}")
        return not twice

    def rows(self) -> Iterator[Row]:
        """The lines after the header; empty ones are skipped."""
        lines = self._lines()
        next(lines, None)
        for row in lines:
            if not row.cells:
                continue
            if len(row.cells) != len(self.columns):
                message = f"has {len(row.cells)} cells, the header has {len(self.columns)}"
                self._findings.error("metadata_invalid", f"{self.name}:{row.line}", message)
                continue
            yield Row(row.line, [cell.strip() for cell in row.cells])

    def _lines(self) -> Iterator[Row]:
        text = io.TextIOWrapper(io.BytesIO(self._content), encoding="utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        try:
            for cells in reader:
                yield Row(reader.line_num, cells)
        except csv.Error as error:
            self._findings.error("metadata_invalid", f"{self.name}:{reader.line_num}", f"is no valid CSV: {error}")


def open_table(tree: Tree, name: str, findings: Findings) -> Table:
    """The table of that name in an archive; an empty one, and a note, if it cannot be read."""
    try:
        return decoded_table(tree.read(name), name, findings)
    except MemberError as error:
        findings.error("archive_damaged", name, str(error))
    return Table(b"", name, findings)


def decoded_table(content: bytes, name: str, findings: Findings) -> Table:
    """The table in a file; an empty one, and a note, if it is no UTF-8."""
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.error("metadata_invalid", name, f"is not UTF-8 at byte {error.start}: save it as UTF-8")
        content = b""
    return Table(content, name, findings)


def header_of(tree: Tree, name: str) -> list[str]:
    """The column names of a table, or nothing if there is no such table to be read."""
    return open_table(tree, name, Findings()).columns if name in tree else []
