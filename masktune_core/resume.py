"""Resume points: everything a run needs to go on, in one file that is either whole or refused.

The file is a zip archive: `identity.json` says which run it belongs to, `state.pt` is a `torch.save` of plain
containers and tensors (read with `weights_only=True`, so reading one runs no code), `masks` is the mask store where
there is one. Its archive comment is the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch

from masktune_core.errors import ResumeError

FORMAT: Final = 2
_READ: Final = (1, FORMAT)  # 1 lacks `offset`, which was always 0 then
KEPT: Final = 2  # newest points that stay on disk: one to use, one should it turn out damaged
_DIGEST_BYTES: Final = 32
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Two runs with the same identity make the same checkpoint. `initial_sha256` is that of a given starting model."""

    config_sha256: str
    dataset_sha256: str
    initial_sha256: str | None


def write_resume_point(
    folder: Path, number: int, *, identity: RunIdentity, state: dict[str, Any], masks: Path | None
) -> Path:
    """Write point `number` into `folder` and drop all but the newest `KEPT`. Returns its path.

    The file appears under its name only once it is complete and flushed. Raises `OSError` when the disk is full, and
    leaves the older points in place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"point-{number:08d}.resume"
    staged = path.with_suffix(".partial")
    try:
        with staged.open("w+b") as file:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("identity.json", json.dumps({"format": FORMAT, **asdict(identity)}))
                with archive.open("state.pt", "w", force_zip64=True) as member:
                    torch.save(state, member)
                if masks is not None:
                    archive.write(masks, "masks", zipfile.ZIP_DEFLATED, compresslevel=1)
                archive.comment = bytes(_DIGEST_BYTES)
            end = file.tell() - _DIGEST_BYTES
            digest = _digest(file, end)
            file.seek(end)
            file.write(digest)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    _flush_folder(folder)
    for old in sorted(folder.glob("point-*.resume"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def read_resume_point(path: Path, *, identity: RunIdentity, masks: Path) -> dict[str, Any]:
    """The state in a resume point of this very run; its mask store, if it has one, is put at `masks`.

    Raises `ResumeError` if the file is damaged, of another format, or belongs to another configuration, data set or
    starting model.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
            if end <= 0 or file.seek(end) != end or file.read() != _digest(file, end):
                raise ResumeError(f"resume point {path.name} is damaged: use the one before it, or start over")
            with zipfile.ZipFile(file) as archive:
                _require_same_run(json.loads(archive.read("identity.json")), identity, path.name)
                if "masks" in archive.namelist():
                    with archive.open("masks") as source, masks.open("wb") as target:
                        shutil.copyfileobj(source, target, _CHUNK)
                state = torch.load(io.BytesIO(archive.read("state.pt")), weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise ResumeError(f"resume point {path} does not exist") from error
    except (zipfile.BadZipFile, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise ResumeError(f"resume point {path.name} is not one of ours: start over without it") from error
    assert isinstance(state, dict)
    return state


def _require_same_run(found: dict[str, Any], identity: RunIdentity, name: str) -> None:
    if found.get("format") not in _READ:
        known = " and ".join(str(each) for each in _READ)
        raise ResumeError(
            f"resume point {name} has format {found.get('format')}, this version reads {known}: start over"
        )
    for field, what in (
        ("config_sha256", "another configuration"),
        ("dataset_sha256", "another data set"),
        ("initial_sha256", "another starting checkpoint"),
    ):
        if found[field] != getattr(identity, field):
            raise ResumeError(
                f"resume point {name} belongs to {what}: start over without it, or give what it was made with"
            )


def _digest(file: BinaryIO, end: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while end > 0 and (block := file.read(min(end, _CHUNK))):
        digest.update(block)
        end -= len(block)
    return digest.digest()


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
