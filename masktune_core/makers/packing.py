"""Writes the archive that a maker hands out: images and a `metadata.csv`, the same bytes for the same content."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from masktune_core.intake.pictures import Picture

Row = tuple[str, ...]


class Packing:
    """A zip in the making: complete under its name when the block ends without an error, else nothing is left."""

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._staged = destination.with_name(destination.name + ".partial")
        destination.parent.mkdir(parents=True, exist_ok=True)
        self._zip = zipfile.ZipFile(self._staged, "w", zipfile.ZIP_STORED)

    def add(self, name: str, content: bytes) -> None:
        """One file."""
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.create_system = 3
        info.external_attr = 0o644 << 16
        self._zip.writestr(info, content)

    def add_table(self, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """`metadata.csv`."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        self.add("metadata.csv", table.getvalue().encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._zip.close()
                self._staged.replace(self._destination)
            else:
                with suppress(OSError, ValueError):  # on a full disk there is no closing it either
                    self._zip.close()
        finally:
            self._staged.unlink(missing_ok=True)


def add_pictures(packing: Packing, pictures: Iterable[Picture]) -> Iterator[Row]:
    """Add pictures as PNG; yields the row (file_name, label, split) of each."""
    for picture in pictures:
        packing.add(picture.name, picture.as_png())
        yield picture.name, picture.label, picture.split


@contextmanager
def packed(
    destination: Path, columns: Sequence[str] = ("file_name", "label", "split")
) -> Iterator[tuple[Packing, list[Row]]]:
    """A `Packing` and the rows to fill; the table is written at the end."""
    rows: list[Row] = []
    with Packing(destination) as packing:
        yield packing, rows
        packing.add_table(columns, rows)
