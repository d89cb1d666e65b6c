"""What is drawn is what is stored."""

from __future__ import annotations

import io
import zlib

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api.rendering.colours import SCALE, colour
from api.rendering.heatmap import heatmap
from api.rendering.levels import map_levels
from api.rendering.masks import Fill, mask_picture, masked, unpack_mask
from api.rendering.pictures import decode, encode, media_type_of
from api.rendering.upsampling import upsample
from masktune_core.config import InputConfig
from masktune_core.data.fill import fill_masked
from masktune_core.data.views import evaluation_views, whole_boxes

SIDES = st.integers(1, 40)


def pixels(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def deflated(keep: npt.NDArray[np.bool_]) -> bytes:
    return zlib.compress(np.packbits(keep.reshape(-1)).tobytes())


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES, st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))
def test_upsampling_equals_torch(h: int, w: int, height: int, width: int, seed: int) -> None:
    grid = np.random.default_rng(seed).random((h, w), dtype=np.float32)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(grid)[None, None], (height, width), mode="bilinear")[0, 0]
    np.testing.assert_allclose(upsample(grid, height, width), theirs.numpy(), atol=1e-5)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_the_evaluation_box_is_the_view_that_the_loader_takes(data: st.DataObject) -> None:
    size = data.draw(st.integers(8, 300))
    config = InputConfig(
        size=size,
        center_crop=data.draw(st.none() | st.integers(1, 400)),
        resize=data.draw(st.none() | st.integers(size, 400)),
    )
    sizes = np.array([[data.draw(st.integers(1, 600)), data.draw(st.integers(1, 600))]], dtype=np.int32)
    box = whole_boxes(evaluation_views(sizes, config), sizes)[0]
    assert config.evaluation_box(*sizes[0].tolist()) == tuple(box)


@given(SIDES, SIDES, st.integers(0, 9))
def test_a_mask_survives_storing(height: int, width: int, seed: int) -> None:
    keep = np.random.default_rng(seed).random((height, width)) < 0.7
    assert np.array_equal(unpack_mask(deflated(keep), height, width), keep)


@pytest.mark.parametrize("stored", [b"", b"nonsense", zlib.compress(b"\xff" * 7), zlib.compress(b"\xff" * 9)])
def test_a_mask_of_another_size_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="mask"):
        unpack_mask(stored, 8, 8)


@pytest.mark.parametrize("fill", ["zero", "mean", "blur"])
def test_masking_leaves_kept_pixels_alone(fill: str) -> None:
    image, keep = pixels(9, 13), np.ones((9, 13), dtype=bool)
    keep[2:5, 3:7] = False
    drawn = masked(image, keep, fill)  # type: ignore[arg-type]  # parametrised by its values
    assert np.array_equal(drawn[keep], image[keep])
    assert not np.array_equal(drawn[~keep], image[~keep])
    if fill == "zero":
        assert not drawn[~keep].any()


@given(SIDES, SIDES, st.integers(0, 9), st.sampled_from(["zero", "mean", "blur"]))
def test_a_masked_image_is_drawn_as_finetuning_sees_it(height: int, width: int, seed: int, fill: Fill) -> None:
    image, keep = pixels(height, width), np.random.default_rng(seed).random((height, width)) < 0.7
    assert np.array_equal(masked(image, keep, fill), fill_masked(image, keep, fill))


def test_the_mask_is_white_where_kept() -> None:
    keep = np.array([[True, False]])
    assert mask_picture(keep).tolist() == [[255, 0]]


def test_the_hottest_pixel_gets_the_last_colour_and_outside_the_box_is_dimmed() -> None:
    image = pixels(40, 30)
    cam = np.zeros((2, 2), dtype=np.float32)
    cam[0, 0] = 3.0
    drawn = heatmap(image, cam, (5, 0, 30, 30))
    assert np.array_equal(drawn[5, 0], (image[5, 0] >> 1) + (SCALE[255] >> 1))
    assert np.array_equal(drawn[34, 29], (image[34, 29] >> 1) + (SCALE[0] >> 1))
    assert np.array_equal(drawn[:5], image[:5] >> 1)
    assert np.array_equal(drawn[35:], image[35:] >> 1)


def test_bands_leave_no_seam() -> None:
    image, cam = pixels(700, 20), np.random.default_rng(1).random((7, 5), dtype=np.float32)
    full = upsample(cam, 700, 20)
    expected = (image >> 1) + (colour((full - full.min()) / (full.max() - full.min())) >> 1)
    assert np.array_equal(heatmap(image, cam, (0, 0, 700, 20)), expected)


def test_levels_of_a_large_image_have_its_shape_and_keep_to_the_box() -> None:
    hot = np.array([[0, 1], [0, 0]], dtype=np.float32)
    drawn = map_levels(hot, (100, 0, 1000, 2000), 1200, 2000, 200)
    assert drawn.shape == (120, 200)
    assert drawn[:10].max() == drawn[110:].max() == 0
    assert (drawn[10:110].max(), drawn[10:110].min()) == (255, 0)
    assert drawn[10, 199] == 255
    # A small one is drawn as it is, and what the network looked at nowhere is nothing.
    assert map_levels(hot, (0, 0, 6, 6), 6, 6, 200).shape == (6, 6)
    assert map_levels(np.ones((2, 2), dtype=np.float32), (0, 0, 6, 6), 6, 6, 200).max() == 0
    assert map_levels(hot, (5, 0, 1, 3000), 11, 3000, 30).shape == (1, 30)


def test_an_all_zero_map_is_drawn_as_ignored() -> None:
    image = pixels(6, 6)
    drawn = heatmap(image, np.zeros((3, 3), dtype=np.float32), (0, 0, 6, 6))
    assert np.array_equal(drawn, (image >> 1) + (SCALE[0] >> 1))


def test_the_scale_grows_lighter_throughout() -> None:
    luma = SCALE.astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luma) >= -0.8).all()
    assert luma[-1] - luma[0] > 150


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_encoding_is_lossless(encoding: str) -> None:
    image = pixels(31, 17)
    data = encode(image, encoding)  # type: ignore[arg-type]  # parametrised by its values
    assert media_type_of(data) == f"image/{encoding}"
    assert np.array_equal(decode(data, 31, 17), image)


def test_a_scaled_mask_stays_black_and_white() -> None:
    keep = np.random.default_rng(0).random((64, 32)) < 0.5
    with Image.open(io.BytesIO(encode(mask_picture(keep), "png", max_side=16))) as image:
        assert image.size == (8, 16)
        assert set(np.unique(np.asarray(image))) == {0, 255}


@pytest.mark.parametrize("data", [b"", b"GIF89a", encode(pixels(4, 4), "png")[:40], encode(pixels(4, 5), "png")])
def test_bytes_that_are_not_the_image_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="stored image"):
        decode(data, 4, 4)
