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

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktune_core.data.philox import shuffled

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


def add_pictures(
    packing: Packing, split: str, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str]
) -> Iterator[Row]:
    """Add images (N, H, W, 3) as PNG; yields the row (file_name, label, split) of each."""
    for position, (pixels, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "png")
        name = f"{split}/{classes[label]}/{position:06d}.png"
        packing.add(name, encoded.getvalue())
        yield name, classes[label], split


def hold_out(labels: NDArray[np.int64], share: float, *, seed: int) -> NDArray[np.bool_]:
    """Which of N samples to set aside: the same share of each class, drawn by `seed`; at least one each if any."""
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels) if share > 0.0 else ():
        members = shuffled(np.flatnonzero(labels == label), seed=seed, epoch=0)
        chosen[members[: max(1, round(share * len(members)))]] = True
    return chosen


@contextmanager
def packed(
    destination: Path, columns: Sequence[str] = ("file_name", "label", "split")
) -> Iterator[tuple[Packing, list[Row]]]:
    """A `Packing` and the rows to fill; the table is written at the end."""
    rows: list[Row] = []
    with Packing(destination) as packing:
        yield packing, rows
        packing.add_table(columns, rows)
