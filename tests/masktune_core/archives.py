"""Small archives for tests, made in memory."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray
from PIL import Image

from masktune_core.data.archive import ArchiveWriter, Attribute, ImageRow
from masktune_core.data.dataset import Dataset

Files = Mapping[str, bytes]


def picture(seed: int = 0, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    """A random image (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """`pixels` as PNG."""
    return encoded(Image.fromarray(pixels), "png")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """`image` in a file format."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def zip_bytes(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of `files`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), content, method)
    return out.getvalue()


def tar_bytes(files: Files, mode: str = "w") -> bytes:
    """A tar archive of `files`, or with mode w:gz, w:zst a compressed one."""
    if mode == "w:zst":
        return zstandard.ZstdCompressor().compress(tar_bytes(files))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if mode == "w:gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def table(rows: Sequence[Sequence[object]], columns: str = "file_name,label,split") -> bytes:
    """A CSV file."""
    return "\n".join([columns, *(",".join(map(str, row)) for row in rows), ""]).encode()


def two_classes(count: int = 4) -> dict[str, bytes]:
    """A valid data set as `metadata.csv` and PNGs: per split `count` images, classes a and b by turns."""
    splits = ("train", "val", "test")
    names = [(f"{split}/{i}.png", "ab"[i % 2], split) for split in splits for i in range(count)]
    return {"metadata.csv": table(names)} | {name: png(picture(i)) for i, (name, _, _) in enumerate(names)}


def write_dataset(
    path: Path, images: Sequence[NDArray[np.uint8]], *, splits: Sequence[str] = ("train",), classes: int = 2
) -> Dataset:
    """A normalised data set of `images`; splits and labels go round, attribute `side` alternates in pairs."""
    names = tuple(f"class {label}" for label in range(classes))
    with ArchiveWriter(path, classes=names, attributes=[Attribute("side", ("l", "r"))], layout="test") as writer:
        for i, image in enumerate(images):
            row = ImageRow(f"{i}.png", splits[i % len(splits)], i % classes, (i // 2 % 2,), *image.shape[:2])
            writer.add(row, png(image))
        writer.finish()
    return Dataset.open(path)
