"""What masked pixels become."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from masktune_core.data.fill import Fill, fill_masked
from tests.masktune_core.archives import picture

FILLS: tuple[Fill, ...] = ("zero", "mean", "blur")


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(FILLS), st.data())
def test_pixels_outside_the_mask_stay_bit_for_bit(height: int, width: int, fill: Fill, data: st.DataObject) -> None:
    image = picture(height * 32 + width, height, width)
    keep = data.draw(arrays.arrays(np.bool_, (height, width)))
    before = image.copy()
    filled = fill_masked(image, keep, fill)
    assert (filled[keep] == image[keep]).all()
    assert (image == before).all()
    assert filled.dtype == np.uint8


def test_zero_is_black() -> None:
    keep = np.ones((8, 8), dtype=np.bool_)
    keep[2:4, 5] = False
    assert (fill_masked(picture(), keep, "zero")[~keep] == 0).all()


def test_mean_is_the_images_mean_colour() -> None:
    image = picture()
    filled = fill_masked(image, np.zeros((8, 8), dtype=np.bool_), "mean")
    assert (filled == np.floor(image.mean(axis=(0, 1)) + 0.5)).all()


def test_blur_keeps_colour_and_loses_shape() -> None:
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    image[::2] = (200, 100, 50)
    filled = fill_masked(image, np.zeros((40, 40), dtype=np.bool_), "blur")
    assert np.abs(filled[15:25, 15:25].astype(int) - (100, 50, 25)).max() <= 3


@pytest.mark.parametrize("fill", FILLS)
def test_an_all_kept_mask_changes_nothing(fill: Fill) -> None:
    assert (fill_masked(picture(), np.ones((8, 8), dtype=np.bool_), fill) == picture()).all()
