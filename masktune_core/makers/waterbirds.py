"""Waterbirds (Sagawa et al. 2020), from the folder or archive that WILDS or the group-DRO authors hand out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from masktune_core.intake.findings import Findings
from masktune_core.intake.table import decoded_table
from masktune_core.makers.download import find, missing, open_download
from masktune_core.makers.packing import Packing

_NAME: Final = "img_filename"


def make_waterbirds(destination: Path, source: Path) -> Path:
    """Write `metadata.csv` and the images it names, and nothing else of the download; intake reads that layout.

    Raises `ArchiveError` if the table or an image is missing, or a line is broken.
    """
    with open_download(source) as download, Packing(destination) as packing:
        place = find(download, "metadata.csv")
        if place is None:
            raise missing(source, "holds no metadata.csv: give Waterbirds' own folder or archive")
        content, findings = download.read(place), Findings()
        folder = place.removesuffix("metadata.csv")
        table = decoded_table(content, place, findings)
        if _NAME not in table.columns:
            raise findings.fatal("metadata_invalid", place, f"has no column {_NAME}: this is no Waterbirds")
        name_at, known = table.columns.index(_NAME), set(download.names)
        packing.add("metadata.csv", content)
        for row in table.rows():
            name = row.cells[name_at]
            if folder + name not in known:
                findings.error("missing_file", f"{place}:{row.line}", f"names {name!r}, which is not there")
            elif not findings.failed:
                packing.add(name, download.read(folder + name))
        if findings.failed:
            raise findings.as_error()
    return destination
