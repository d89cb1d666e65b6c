"""Waterbirds (Sagawa et al. 2020), from the folder or archive that WILDS or the group-DRO authors hand out."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from masktune_core.makers.download import find, missing, open_download
from masktune_core.makers.packing import Packing


def make_waterbirds(destination: Path, source: Path) -> Path:
    """Write `metadata.csv` and the images it names, and nothing else of the download; intake reads that layout.

    Raises `ArchiveError` if the table or an image is missing.
    """
    with open_download(source) as download, Packing(destination) as packing:
        place = find(download, "metadata.csv")
        if place is None:
            raise missing(source, "holds no metadata.csv: give Waterbirds' own folder or archive")
        content = download.read(place)
        folder = place.removesuffix("metadata.csv")
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        if "img_filename" not in (rows.fieldnames or ()):
            raise missing(place, "has no column img_filename: this is no Waterbirds")
        known = set(download.names)
        packing.add("metadata.csv", content)
        for row in rows:
            name = row["img_filename"]
            if folder + name not in known:
                raise missing(folder + name, "is named in metadata.csv, but not there")
            packing.add(name, download.read(folder + name))
    return destination
