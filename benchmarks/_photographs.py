"""Pictures with the size and statistics of photographs, as a data set of JPEG files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from masktune_core.data.archive import ArchiveWriter, ImageRow


def photograph(seed: int) -> tuple[bytes, int, int]:
    """A JPEG of smooth shapes and some noise, about 400 × 300: (bytes, height, width)."""
    random = np.random.default_rng(seed)
    width, height = int(random.integers(380, 501)), int(random.integers(300, 376))
    shapes = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(shapes).astype(np.int64) + random.integers(-12, 13, (height, width, 3))
    encoded = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(encoded, "jpeg", quality=90)
    return encoded.getvalue(), height, width


def write_photographs(path: Path, count: int) -> list[bytes]:
    """A normalised data set at `path` of two classes, all of it for training; returns the JPEG files in its order."""
    made = [photograph(seed) for seed in range(count)]
    with ArchiveWriter(path, classes=["a", "b"], attributes=[], layout="benchmark") as writer:
        for number, (encoded, height, width) in enumerate(made):
            writer.add(ImageRow(f"{number}.jpg", "train", number % 2, (), height, width), encoded)
        writer.finish()
    return [encoded for encoded, _, _ in made]
