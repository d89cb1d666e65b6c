"""Finds the files that a table names."""

from __future__ import annotations

from masktune_core.intake.findings import Findings
from masktune_core.intake.names import UnsafeNameError, clean_name, printable
from masktune_core.intake.tree import Tree


class Listed:
    """Looks names up, and remembers which files were named."""

    def __init__(self, tree: Tree, findings: Findings) -> None:
        self._tree, self._findings = tree, findings
        self._seen = bytearray(len(tree))

    def find(self, text: str, where: str) -> int | None:
        """The position of what line `where` of a table calls `text`; None, and a note, if there is no such file."""
        try:
            name = clean_name(text)
        except UnsafeNameError as error:
            self._findings.error("metadata_invalid", where, f"the file name {printable(text)!r} {error}")
            return None
        position = self._tree.find(name)
        if position is None:
            self._findings.error("missing_file", where, f"names {name!r}, which is not in the archive")
            return None
        if self._seen[position]:
            self._findings.error("duplicate_name", where, f"names {name!r} a second time")
            return None
        self._seen[position] = 1
        return position

    def report_others(self, table: str) -> None:
        """Note the images that the table does not name; they are left aside."""
        for position, name in self._tree.named_images():
            if not self._seen[position]:
                self._findings.warning("files_ignored", name, f"not named in {table} and left out")
