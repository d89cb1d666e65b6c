"""The normalised archive: what intake writes and everything else reads.

An uncompressed (`STORED`) zip, so that every image is a byte range of the file:

    dataset.json   {"format": 1, "classes": […], "attributes": [{"name", "values"}], "layout": "…"}
    images/…       8-bit RGB JPEG or PNG, in the order of the index
    metadata.csv   file_name,label,split,width,height,<attribute columns>; one row per image, empty = unknown attribute

Equal content gives equal bytes: fixed dates, fixed order, fixed flags.
"""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from masktune_core.errors import ArchiveError, Problem

FORMAT: Final = 1
IMAGES: Final = "images/"
SPLIT_ORDER: Final = ("train", "val", "test")
_FIXED_COLUMNS: Final = ("file_name", "label", "split", "width", "height")
_LOCAL_HEADER_BYTES: Final = 30
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class Attribute(NamedTuple):
    """A column beside the label, such as the background. A value's position in `values` is its index."""

    name: str
    values: tuple[str, ...]


class ImageRow(NamedTuple):
    """One image as the writer is told about it. `attributes` holds value indices, -1 for unknown."""

    name: str
    split: str
    label: int
    attributes: tuple[int, ...]
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """Everything about a normalised archive but the pixels. N images, A attribute columns.

    `names` are the names of the uploaded files. `split` indexes `split_names` (order train, val, test, test:*);
    `label` indexes `classes`; `attribute` indexes the values of each attribute, -1 where unknown. `offset` and `length`
    are the byte range of each encoded image inside the file.
    """

    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    layout: str
    split_names: tuple[str, ...]
    names: list[str]
    split: NDArray[np.int16]  # (N,)
    label: NDArray[np.int32]  # (N,)
    attribute: NDArray[np.int16]  # (N, A)
    height: NDArray[np.int32]  # (N,)
    width: NDArray[np.int32]  # (N,)
    offset: NDArray[np.int64]  # (N,)
    length: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.names)


def order_splits(names: Sequence[str]) -> tuple[str, ...]:
    """Distinct split names in the one order used everywhere: train, val, test, then test:* by name."""
    rank = {name: position for position, name in enumerate(SPLIT_ORDER)}
    return tuple(sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name)))


class ArchiveWriter:
    """Writes a normalised archive front to back; memory grows with the number of images only, not their bytes."""

    def __init__(self, path: Path, *, classes: Sequence[str], attributes: Sequence[Attribute], layout: str) -> None:
        self._classes, self._attributes = tuple(classes), tuple(attributes)
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self._rows: list[ImageRow] = []
        header = {
            "format": FORMAT,
            "classes": list(self._classes),
            "attributes": [{"name": a.name, "values": list(a.values)} for a in self._attributes],
            "layout": layout,
        }
        self._member("dataset.json", json.dumps(header, ensure_ascii=False, indent=1).encode())

    def add(self, row: ImageRow, encoded: bytes) -> None:
        """Append one image, already encoded as 8-bit RGB JPEG or PNG."""
        self._member(IMAGES + row.name, encoded)
        self._rows.append(row)

    def finish(self) -> None:
        """Write the table and the zip's directory; the file is complete after this."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow([*_FIXED_COLUMNS, *(a.name for a in self._attributes)])
        for row in self._rows:
            values = [a.values[v] if v >= 0 else "" for a, v in zip(self._attributes, row.attributes, strict=True)]
            writer.writerow(
                [IMAGES + row.name, self._classes[row.label], row.split, row.width, row.height, *values],
            )
        self._member("metadata.csv", table.getvalue().encode())
        self._zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def _member(self, name: str, content: bytes) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_STORED
        info.create_system = 3
        info.external_attr = 0o644 << 16
        self._zip.writestr(info, content)


def read_index(path: Path) -> ArchiveIndex:
    """Read the index of a normalised archive without touching its images.

    Raises `ArchiveError` (`not_an_archive`, `archive_damaged`) for anything that `ArchiveWriter` did not write whole.
    """
    with _open(path) as archive:
        header = _read_header(archive)
        classes = _strings(header.get("classes"), "classes")
        attributes = tuple(_attribute(entry) for entry in _list(header.get("attributes"), "attributes"))
        layout = header.get("layout")
        if not isinstance(layout, str):
            _damaged("dataset.json", "has no layout")
        ranges = _byte_ranges(archive)
        names: list[str] = []
        splits: dict[str, int] = {}  # in the order in which they come
        split, label, height, width, offset, length = (array(kind) for kind in "iiiiqq")
        attribute = array("h")
        # Row by row into columns: a million rows kept as objects would take half a gigabyte, and long to collect.
        for line, row in enumerate(_read_rows(archive, classes, attributes), start=2):
            place = ranges.get(IMAGES + row.name)
            if place is None:
                _damaged("metadata.csv", f"line {line} names {row.name!r}, which the archive does not hold")
            names.append(row.name)
            split.append(splits.setdefault(row.split, len(splits)))
            label.append(row.label)
            attribute.extend(row.attributes)
            height.append(row.height)
            width.append(row.width)
            offset.append(place[0])
            length.append(place[1])
    if len(ranges) != len(names):
        _damaged("metadata.csv", f"lists {len(names)} images, the archive holds {len(ranges)}")
    split_names = order_splits(list(splits))
    code = np.array([split_names.index(name) for name in splits], dtype=np.int16)
    return ArchiveIndex(
        classes=classes,
        attributes=attributes,
        layout=layout,
        split_names=split_names,
        names=names,
        split=code[np.array(split, dtype=np.int64)],
        label=np.array(label, dtype=np.int32),
        attribute=np.array(attribute, dtype=np.int16).reshape(len(names), len(attributes)),
        height=np.array(height, dtype=np.int32),
        width=np.array(width, dtype=np.int32),
        offset=np.array(offset, dtype=np.int64),
        length=np.array(length, dtype=np.int64),
    )


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, EOFError) as error:
        problem = Problem("not_an_archive", path.name, f"is not a normalised data set: {error}")
        raise ArchiveError([problem]) from error


def _read_header(archive: zipfile.ZipFile) -> Mapping[str, Any]:
    try:
        header = json.loads(_read(archive, "dataset.json"))
    except ValueError as error:
        _damaged("dataset.json", f"is not JSON: {error}")
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        _damaged("dataset.json", f"is not of format {FORMAT}: upload the data set again to normalise it anew")
    return header


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except KeyError:
        _damaged(name, "is missing: this is not a normalised data set; run it through intake first")


def _byte_ranges(archive: zipfile.ZipFile) -> dict[str, tuple[int, int]]:
    """Offset and length of every image. The members must lie back to back, as `ArchiveWriter` puts them.

    That makes each data offset a matter of the directory alone: no local header has to be read.
    """
    ranges: dict[str, tuple[int, int]] = {}
    expected = 0
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED or info.header_offset != expected:
            _damaged(info.filename, "is compressed or out of place: this is not a normalised data set")
        start = info.header_offset + _LOCAL_HEADER_BYTES + len(info.filename.encode())
        expected = start + info.file_size
        if info.filename.startswith(IMAGES):
            ranges[info.filename] = (start, info.file_size)
    return ranges


def _read_rows(
    archive: zipfile.ZipFile, classes: tuple[str, ...], attributes: tuple[Attribute, ...]
) -> Iterator[ImageRow]:
    reader = csv.reader(io.StringIO(_read(archive, "metadata.csv").decode(), newline=""))
    expected = [*_FIXED_COLUMNS, *(a.name for a in attributes)]
    if next(reader, None) != expected:
        _damaged("metadata.csv", f"must have the columns {', '.join(expected)}")
    label_of = {name: position for position, name in enumerate(classes)}
    value_of = [{name: position for position, name in enumerate(a.values)} | {"": -1} for a in attributes]
    for line, cells in enumerate(reader, start=2):
        try:
            name, label, split, width, height, *values = cells
            yield ImageRow(
                name=name.removeprefix(IMAGES),
                split=split,
                label=label_of[label],
                attributes=tuple(known[value] for known, value in zip(value_of, values, strict=True)),
                height=int(height),
                width=int(width),
            )
        except (KeyError, ValueError):
            _damaged("metadata.csv", f"line {line} does not match dataset.json: {cells[:8]}")


def _attribute(entry: object) -> Attribute:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        _damaged("dataset.json", "has an attribute without a name")
    return Attribute(entry["name"], _strings(entry.get("values"), f"attribute {entry['name']}"))


def _strings(value: object, what: str) -> tuple[str, ...]:
    entries = _list(value, what)
    if not all(isinstance(entry, str) for entry in entries):
        _damaged("dataset.json", f"{what} must be a list of names")
    return tuple(entries)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        _damaged("dataset.json", f"{what} must be a list")
    return value


def _damaged(where: str, message: str) -> NoReturn:
    raise ArchiveError([Problem("archive_damaged", where, message)])
