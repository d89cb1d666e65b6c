"""Small data sets in exactly the layouts in which people download them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from masktune_core.intake.layouts.backgrounds import VARIANTS
from tests.masktune_core.archives import Files, encoded, picture, png, table

Pixels = NDArray[np.uint8]
JPEG: Final = encoded(Image.fromarray(picture()), "jpeg")


def lay_out(folder: Path, files: Files) -> Path:
    """`files` below `folder`."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def batch(images: Pixels, labels: list[int]) -> bytes:
    """A batch of CIFAR-10 as Python 2 pickled it: keys of bytes, the array by NumPy's old name."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    content = {
        b"batch_label": b"training batch",
        b"labels": labels,
        b"data": rows,
        b"filenames": [b"x.png"] * len(rows),
    }
    return pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def cifar10(top: str = "cifar-10-batches-py/") -> tuple[dict[str, bytes], Pixels]:
    """CIFAR-10's files, and its 120 images: 20 in each training batch, 20 for the test, classes in turn."""
    images = np.stack([picture(seed, 32, 32) for seed in range(120)])
    labels = [number % 10 for number in range(120)]
    files = {
        f"{top}data_batch_{number}": batch(images[(number - 1) * 20 : number * 20], labels[:20])
        for number in range(1, 6)
    }
    files[f"{top}test_batch"] = batch(images[100:], labels[100:])
    files[f"{top}batches.meta"] = pickle.dumps({b"label_names": [b"airplane"]}, protocol=2)
    return files, images


def mat(images: Pixels, labels: list[int]) -> bytes:
    """A part of SVHN; 10 stands for the digit 0."""
    out = io.BytesIO()
    savemat(out, {"X": images.transpose(1, 2, 3, 0), "y": np.array(labels, dtype=np.uint8)[:, None]})
    return out.getvalue()


def svhn(train: int = 20, test: int = 10) -> tuple[dict[str, bytes], Pixels]:
    """SVHN's two files, and their images; digits in turn, from 1."""
    images = np.stack([picture(seed, 32, 32) for seed in range(train + test)])
    labels = [number % 10 + 1 for number in range(train + test)]
    files = {
        "train_32x32.mat": mat(images[:train], labels[:train]),
        "test_32x32.mat": mat(images[train:], labels[train:]),
    }
    return files, images


def microsoft() -> dict[str, bytes]:
    """Cats vs Dogs as Microsoft packs it, with one of its files that are no images."""
    files = {f"PetImages/{kind}/{number}.jpg": JPEG for kind in ("Cat", "Dog") for number in range(25)}
    return files | {"PetImages/Cat/666.jpg": b"", "PetImages/Dog/Thumbs.db": b"x", "readme[1].txt": b"x"}


def kaggle() -> dict[str, bytes]:
    """Cats vs Dogs as it lies in Kaggle's train.zip."""
    return {f"train/{kind}.{number}.jpg": JPEG for kind in ("cat", "dog") for number in range(25)}


def waterbirds(top: str = "") -> dict[str, bytes]:
    """Waterbirds as its authors and WILDS ship it."""
    rows = [(i, f"001.Crow/{i}.jpg", i % 2, i // 4, i // 2 % 2, "/o/ocean/1.jpg") for i in range(12)]
    files = {f"{top}001.Crow/{i}.jpg": JPEG for i in range(12)} | {f"{top}RELEASE_v1.0.txt": b"x"}
    return files | {f"{top}metadata.csv": table(rows, "img_id,img_filename,y,split,place,place_filename")}


def celeba(form: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """CelebA's pictures, and its tables as csv or txt; bit b of a picture's number is its column b."""
    rows = [(f"{i:06d}.jpg", *(1 if i >> bit & 1 else -1 for bit in range(3)), i // 8) for i in range(24)]
    columns = ("Blond_Hair", "Male", "Smiling")
    pictures = {f"img_align_celeba/{row[0]}": JPEG for row in rows}
    if form == "csv":
        return pictures, {
            "list_attr_celeba.csv": table([row[:4] for row in rows], "image_id," + ",".join(columns)),
            "list_eval_partition.csv": table([(row[0], row[4]) for row in rows], "image_id,partition"),
        }
    lines = [str(len(rows)), " ".join(columns), *("  ".join(map(str, row[:4])) for row in rows)]
    return pictures, {
        "list_attr_celeba.txt": "\r\n".join(lines).encode(),
        "list_eval_partition.txt": "\n".join(f"{row[0]} {row[4]}" for row in rows).encode(),
    }


def backgrounds() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The Backgrounds Challenge, and IN-9L."""
    labels, image = ("00_dog", "01_bird"), png(picture())
    challenge = {
        f"bg_challenge/{variant}/val/{label}/{i}.JPEG": image
        for variant in VARIANTS
        for label in labels
        for i in (0, 1)
    }
    training = {
        f"in9l/{split}/{label}/n{i}.JPEG": image for split in ("train", "val") for label in labels for i in (0, 1)
    }
    return challenge, training
