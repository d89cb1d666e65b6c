"""A data set's pixels are those that Pillow finds in its files."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from masktune_core.data.archive import ArchiveWriter, ImageRow
from masktune_core.data.dataset import Dataset
from masktune_core.errors import ArchiveError


def noise(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: NDArray[np.uint8], kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def read_back(folder: Path, content: bytes, height: int, width: int) -> NDArray[np.uint8]:
    path = folder / "one.zip"
    with ArchiveWriter(path, classes=("a",), attributes=(), layout="folders") as writer:
        writer.add(ImageRow("train/one", "train", 0, (), height, width), content)
        writer.finish()
    with Dataset.open(path) as dataset:
        return dataset.read(0)


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["png", "jpeg"]), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pixels_are_those_of_pillow(tmp_path: Path, height: int, width: int, kind: str, seed: int) -> None:
    content = encoded(noise(height, width, seed), kind)
    found = read_back(tmp_path, content, height, width)
    np.testing.assert_array_equal(found, np.asarray(Image.open(io.BytesIO(content))))
    assert found.flags.c_contiguous


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


@pytest.mark.parametrize("flaw", ["no_end", "after_the_end", "gamma"])
def test_what_pillow_takes_is_taken(tmp_path: Path, flaw: str) -> None:
    pixels = noise(9, 7, 0)
    whole = encoded(pixels, "png")
    head, body, end = whole[:33], whole[33:-12], whole[-12:]  # signature and header, data, end
    content = {
        "no_end": head + body,
        "after_the_end": whole + b"more",
        "gamma": head + chunk(b"gAMA", (20_000).to_bytes(4, "big")) + body + end,
    }[flaw]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
    np.testing.assert_array_equal(read_back(tmp_path, content, 9, 7), pixels)


def test_damage_is_told(tmp_path: Path) -> None:
    content = bytearray(encoded(noise(30, 30, 0), "png"))
    content[60:200] = bytes(140)
    with pytest.raises(ArchiveError, match="does not decode"):
        read_back(tmp_path, bytes(content), 30, 30)
    with pytest.raises(ArchiveError, match="the index says"):
        read_back(tmp_path, encoded(noise(5, 4, 0), "png"), 4, 5)
