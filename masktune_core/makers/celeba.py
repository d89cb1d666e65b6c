"""CelebA (Liu et al. 2015), from Kaggle's CSV files or the original text files, pictures in a folder or a zip."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from masktune_core.makers.download import Download, find, missing, open_download
from masktune_core.makers.packing import packed

_SPLITS: Final = {"0": "train", "1": "val", "2": "test"}
_PICTURES: Final = "img_align_celeba.zip"


def make_celeba(destination: Path, source: Path, *, target: str = "Blond_Hair", attribute: str = "Male") -> Path:
    """Write the aligned pictures with the label `target` against "not <target>", and the attribute `attribute`.

    `source`: a folder (a torchvision root's `celeba/`, or Kaggle's), or an archive of one. Raises `ArchiveError` if a
    table, a column, or a picture is missing.
    """
    with open_download(source) as download, _pictures(download) as pictures:
        attributes = _table(download, "list_attr_celeba", source)
        partition = _table(download, "list_eval_partition", source)
        for column in (target, attribute):
            if column not in next(iter(attributes.values()), {}):
                raise missing("list_attr_celeba", f"has no column {column}")
        place_of = {name.rsplit("/", 1)[-1]: name for name in reversed(pictures.names)}
        with packed(destination, ("file_name", "label", "split", attribute)) as (packing, rows):
            for name, values in attributes.items():
                split = _SPLITS.get(partition.get(name, {}).get("partition", ""))
                if split is None or name not in place_of:
                    raise missing(name, "has no picture, or no line in list_eval_partition")
                label = target if values[target] == "1" else f"not {target}"
                place = f"img_align_celeba/{name}"
                packing.add(place, pictures.read(place_of[name]))
                rows.append((place, label, split, "yes" if values[attribute] == "1" else "no"))
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


def _table(download: Download, name: str, source: Path) -> dict[str, dict[str, str]]:
    """Picture → column → value, of Kaggle's CSV or of the original: a count and a line of names, or neither."""
    place = find(download, f"{name}.csv")
    if place is not None:
        rows = csv.DictReader(io.StringIO(download.read(place).decode("utf-8-sig")))
        return {row["image_id"]: row for row in rows}
    place = find(download, f"{name}.txt")
    if place is None:
        raise missing(source, f"holds no {name}.csv and no {name}.txt")
    lines = [line.split() for line in download.read(place).decode().splitlines() if line.strip()]
    columns = ["partition"]
    if lines and len(lines[0]) == 1:
        columns, lines = lines[1], lines[2:]
    return {line[0]: dict(zip(columns, line[1:], strict=True)) for line in lines}
