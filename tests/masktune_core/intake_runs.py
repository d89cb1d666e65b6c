"""Intake of made-up archives, for the tests of its layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from masktune_core.data.archive import ArchiveIndex
from masktune_core.errors import ArchiveError
from masktune_core.intake import CelebaOptions, IntakeOptions, IntakeReport, normalise
from tests.masktune_core.archives import Files, picture, png, zip_bytes

IMAGE = png(picture())
WIDE = png(picture(0, 4, 8))


def take_in(folder: Path, files: Files, celeba: CelebaOptions | None = None) -> IntakeReport:
    (folder / "upload").write_bytes(zip_bytes(files))
    options = IntakeOptions(celeba=celeba or CelebaOptions())
    return normalise(folder / "upload", folder / "n.zip", options=options)


def problems_of(folder: Path, files: Files, celeba: CelebaOptions | None = None) -> list[tuple[str, str]]:
    with pytest.raises(ArchiveError) as error:
        take_in(folder, files, celeba)
    return [(problem.code, problem.where) for problem in error.value.problems]


def rows_of(index: ArchiveIndex) -> set[tuple[str, str, str]]:
    """(name, split, class) of every image."""
    return {
        (name, index.split_names[split], index.classes[label])
        for name, split, label in zip(index.names, index.split.tolist(), index.label.tolist(), strict=True)
    }
