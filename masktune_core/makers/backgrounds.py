"""Backgrounds Challenge (Xiao et al. 2020): its test sets, and IN-9L or IN-9 to train on, in one archive."""

from __future__ import annotations

from pathlib import Path

from masktune_core.intake.layouts.backgrounds import VARIANTS
from masktune_core.intake.tree import is_image
from masktune_core.makers.download import missing, open_download
from masktune_core.makers.packing import Packing


def make_backgrounds(destination: Path, challenge: Path, training: Path) -> Path:
    """Write the eight variants of `challenge` and the train and val folders of `training`; intake reads that layout.

    `challenge`: `backgrounds_challenge_data.tar.gz` or its folder. `training`: the same of IN-9L (`in9l.tar.gz`), or
    any folder of `train/<class>/<image>`. Raises `ArchiveError` if a part is missing.
    """
    with Packing(destination) as packing:
        with open_download(challenge) as download:
            found = set()
            for name in download.names:
                place = _below(name, VARIANTS)
                if place is not None and "train" not in place.split("/"):
                    packing.add(place, download.read(name))
                    found.add(place.split("/", 1)[0])
            if lacking := [variant for variant in VARIANTS if variant not in found]:
                raise missing(challenge, f"holds no images of {', '.join(lacking)}")
        with open_download(training) as download:
            splits = set()
            for name in download.names:
                place = _below(name, ("train", "val"))
                if place is not None and place.count("/") == 2:
                    packing.add(f"in9l/{place}", download.read(name))
                    splits.add(place.split("/", 1)[0])
            if "train" not in splits:
                raise missing(training, "holds no train/<class>/<image>")
    return destination


def _below(name: str, folders: tuple[str, ...]) -> str | None:
    """The part of an image's path from one of `folders` on."""
    parts = name.split("/")
    starts = [at for at, part in enumerate(parts[:-1]) if part in folders]
    return "/".join(parts[starts[0] :]) if starts and is_image(name) else None
