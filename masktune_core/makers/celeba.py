"""CelebA (Liu et al. 2015), from Kaggle's CSV files or the original text files, pictures in a folder or a zip."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from masktune_core.intake.findings import Findings
from masktune_core.intake.table import decoded_table
from masktune_core.makers.download import Download, find, missing, open_download
from masktune_core.makers.packing import packed

_ID: Final = "image_id"
_VALUES: Final = {"-1": "no", "0": "no", "1": "yes"}
_SPLITS: Final = {"0": "train", "1": "val", "2": "test"}
_PICTURES: Final = "img_align_celeba.zip"


class _Line(NamedTuple):
    """What a table says of one picture: the number of its line in the file, and the cells asked for."""

    number: int
    cells: list[str]


def make_celeba(destination: Path, source: Path, *, target: str = "Blond_Hair", attribute: str = "Male") -> Path:
    """Write the aligned pictures with the label `target` against "not <target>", and the attribute `attribute`.

    `source`: a folder (a torchvision root's `celeba/`, or Kaggle's), or an archive of one. Raises `ArchiveError` if a
    table, a column, or a picture is missing, or a line does not hold what it has to.
    """
    with open_download(source) as download, _pictures(download) as pictures:
        findings = Findings()
        attributes, table = _table(download, "list_attr_celeba", (target, attribute), source, findings)
        partition, _ = _table(download, "list_eval_partition", ("partition",), source, findings)
        place_of = {name.rsplit("/", 1)[-1]: name for name in reversed(pictures.names)}
        with packed(destination, ("file_name", "label", "split", attribute)) as (packing, rows):
            for name, line in attributes.items():
                place, where = place_of.get(name), f"{table}:{line.number}"
                split = _SPLITS.get(partition[name].cells[0]) if name in partition else None
                is_target, has_attribute = (_VALUES.get(cell) for cell in line.cells)
                if is_target is None or has_attribute is None:
                    findings.error("metadata_invalid", where, f"{target} and {attribute} must be -1 or 1")
                elif place is None:
                    findings.error("missing_file", where, f"names {name!r}, of which there is no picture")
                elif split is None:
                    findings.error("missing_split", where, f"{name!r} is 0, 1 or 2 in no line of list_eval_partition")
                elif not findings.failed:
                    packing.add(place, pictures.read(place))
                    rows.append((place, target if is_target == "yes" else f"not {target}", split, has_attribute))
            if findings.failed:
                raise findings.as_error()
    return destination


@contextmanager
def _pictures(download: Download) -> Iterator[Download]:
    inner = find(download, _PICTURES)
    if inner is None or any(name.endswith(".jpg") for name in download.names):
        yield download
        return
    with tempfile.NamedTemporaryFile(prefix="masktune-make-", suffix=".zip") as file:
        file.write(download.read(inner))
        file.flush()
        with open_download(Path(file.name)) as unpacked:
            yield unpacked


def _table(
    download: Download, name: str, wanted: tuple[str, ...], source: Path, findings: Findings
) -> tuple[dict[str, _Line], str]:
    """Picture → line, and the file that says so: Kaggle's CSV, or else the original text."""
    for ending, read in ((".csv", _read_csv), (".txt", _read_text)):
        place = find(download, name + ending)
        if place is not None:
            return dict(read(download.read(place), place, wanted, findings)), place
    raise missing(source, f"holds no {name}.csv and no {name}.txt")


def _read_csv(content: bytes, place: str, wanted: tuple[str, ...], findings: Findings) -> Iterator[tuple[str, _Line]]:
    table = decoded_table(content, place, findings)
    _require_columns(table.columns, (_ID, *wanted), place, findings)
    at, *cells_at = (table.columns.index(column) for column in (_ID, *wanted))
    for row in table.rows():
        yield row.cells[at], _Line(row.line, [row.cells[column] for column in cells_at])


def _read_text(content: bytes, place: str, wanted: tuple[str, ...], findings: Findings) -> Iterator[tuple[str, _Line]]:
    """Cells between spaces. The attributes come below a line with their count and one with their names."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise findings.fatal("metadata_invalid", place, f"is not UTF-8 at byte {error.start}") from error
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    columns = ["partition"]
    if len(lines) > 1 and len(lines[0][1]) == 1:
        columns, lines = lines[1][1], lines[2:]
    _require_columns(columns, wanted, place, findings)
    cells_at = [columns.index(column) for column in wanted]
    for number, (picture, *cells) in lines:
        if len(cells) == len(columns):
            yield picture, _Line(number, [cells[column] for column in cells_at])
        else:
            message = f"has {len(cells)} values, there are {len(columns)} columns"
            findings.error("metadata_invalid", f"{place}:{number}", message)


def _require_columns(columns: Sequence[str], wanted: Sequence[str], place: str, findings: Findings) -> None:
    lacking = [column for column in wanted if column not in columns]
    if lacking:
        raise findings.fatal("metadata_invalid", place, f"has no column {', '.join(lacking)}")
