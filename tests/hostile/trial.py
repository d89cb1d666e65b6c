"""Tries the whole corpus: what is refused, and as what."""

from __future__ import annotations

import tempfile
from pathlib import Path

from masktune_core.checkpoint import read_foreign_checkpoint
from masktune_core.errors import ArchiveError, CheckpointError
from masktune_core.intake import normalise
from masktune_core.intake.images import ImageError, prepare_image

MAX_PIXELS = 50_000_000


def try_archive(content: bytes) -> set[str]:
    """Codes of the errors with which an archive is refused; none if it is taken. Nothing may be left behind."""
    with tempfile.TemporaryDirectory() as folder:
        source, destination = Path(folder) / "upload", Path(folder) / "out" / "n.zip"
        source.write_bytes(content)
        try:
            normalise(source, destination)
        except ArchiveError as error:
            assert list(destination.parent.iterdir()) == []
            return {problem.code for problem in error.problems}
        finally:
            assert {path.name for path in Path(folder).iterdir()} <= {"upload", "out"}
    return set()


def try_image(content: bytes) -> str:
    """Code with which an image is refused; empty if it is taken."""
    try:
        prepare_image(content, MAX_PIXELS)
    except ImageError as error:
        return error.code
    return ""


def try_checkpoint(content: bytes, folder: Path) -> bool:
    """Whether a checkpoint is refused."""
    path = folder / "model.pt"
    path.write_bytes(content)
    try:
        read_foreign_checkpoint(path, architecture="small_cnn", num_classes=2)
    except CheckpointError:
        return True
    return False
