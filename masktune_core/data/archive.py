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

from masktune_core.data.tail_buffer import TailBuffer
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
    """Writes a normalised archive front to back. Memory grows with the number of images only, not their bytes: half a
    kilobyte an image."""

    def __init__(self, path: Path, *, classes: Sequence[str], attributes: Sequence[Attribute], layout: str) -> None:
        self._classes, self._attributes, self._layout = tuple(classes), tuple(attributes), layout
        self._file = TailBuffer(path)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        self._columns = _Columns()
        header = {
            "format": FORMAT,
            "classes": list(self._classes),
            "attributes": [{"name": a.name, "values": list(a.values)} for a in self._attributes],
            "layout": layout,
        }
        self._member("dataset.json", json.dumps(header, ensure_ascii=False, indent=1).encode())

    def add(self, row: ImageRow, encoded: bytes) -> None:
        """Append one image, already encoded as 8-bit RGB JPEG or PNG."""
        self._columns.add(row, self._member(IMAGES + row.name, encoded), len(encoded))

    def finish(self) -> ArchiveIndex:
        """Write the table and the zip's directory; the file is complete after this. Returns what `read_index` would."""
        index = self._columns.as_index(self._classes, self._attributes, self._layout)
        table = io.BytesIO()
        with io.TextIOWrapper(table, encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([*_FIXED_COLUMNS, *(a.name for a in self._attributes)])
            writer.writerows(_table_rows(index))
            text.flush()
            with table.getbuffer() as content:
                self._member("metadata.csv", content)
        self._close()
        return index

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._zip.close()
        self._file.close()

    def _member(self, name: str, content: bytes | memoryview) -> int:
        """Append a file; returns the offset of its first byte."""
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_STORED
        info.create_system = 3
        info.external_attr = 0o644 << 16
        self._zip.writestr(info, content)
        self._file.settle()
        self._zip.NameToInfo.clear()  # for finding a file by its name, which nobody wants from a writer
        return info.header_offset + _LOCAL_HEADER_BYTES + len(name.encode())


class _Columns:
    """Collects an index image by image. A million rows kept as objects would take half a gigabyte, and long to collect;
    columns take forty bytes a row."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._splits: dict[str, int] = {}  # in the order in which they come
        self._split, self._label, self._height, self._width = (array("i") for _ in range(4))
        self._offset, self._length = array("q"), array("q")
        self._attribute = array("h")

    def add(self, row: ImageRow, offset: int, length: int) -> None:
        """The next image, and the byte range that it has."""
        self._names.append(row.name)
        self._split.append(self._splits.setdefault(row.split, len(self._splits)))
        self._label.append(row.label)
        self._attribute.extend(row.attributes)
        self._height.append(row.height)
        self._width.append(row.width)
        self._offset.append(offset)
        self._length.append(length)

    def as_index(self, classes: tuple[str, ...], attributes: tuple[Attribute, ...], layout: str) -> ArchiveIndex:
        """The index of the images so far."""
        split_names = order_splits(list(self._splits))
        code = np.array([split_names.index(name) for name in self._splits], dtype=np.int16)
        return ArchiveIndex(
            classes=classes,
            attributes=attributes,
            layout=layout,
            split_names=split_names,
            names=self._names,
            split=code[np.array(self._split, dtype=np.int64)],
            label=np.array(self._label, dtype=np.int32),
            attribute=np.array(self._attribute, dtype=np.int16).reshape(len(self._names), len(attributes)),
            height=np.array(self._height, dtype=np.int32),
            width=np.array(self._width, dtype=np.int32),
            offset=np.array(self._offset, dtype=np.int64),
            length=np.array(self._length, dtype=np.int64),
        )


def _table_rows(index: ArchiveIndex) -> Iterator[list[str | int]]:
    """The lines of `metadata.csv` after its header."""
    for position, name in enumerate(index.names):
        values = [
            attribute.values[value] if value >= 0 else ""
            for attribute, value in zip(index.attributes, index.attribute[position].tolist(), strict=True)
        ]
        label, split = index.classes[index.label[position]], index.split_names[index.split[position]]
        yield [IMAGES + name, label, split, int(index.width[position]), int(index.height[position]), *values]


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
        columns = _Columns()
        for line, row in enumerate(_read_rows(archive, classes, attributes), start=2):
            place = ranges.get(IMAGES + row.name)
            if place is None:
                _damaged("metadata.csv", f"line {line} names {row.name!r}, which the archive does not hold")
            columns.add(row, *place)
    index = columns.as_index(classes, attributes, layout)
    if len(ranges) != len(index):
        _damaged("metadata.csv", f"lists {len(index)} images, the archive holds {len(ranges)}")
    return index


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
