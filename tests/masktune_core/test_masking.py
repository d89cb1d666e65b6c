"""The μ + kσ rule, its geometry, and the random control."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from masktune_core.data.views import Box
from masktune_core.masking import image_keep_masks, keep_mask, random_square_masks, upsample_cams

grids = st.tuples(st.integers(1, 4), st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**31))


def maps(batch: int, height: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, height, width, generator=generator)).relu() * 10.0 ** (seed % 9 - 4)


def reference_keep(scaled: NDArray[np.float32], k: float) -> NDArray[np.bool_]:
    positive = scaled[scaled > 0].astype(np.float64)
    if positive.size == 0:
        return np.ones(scaled.shape, dtype=bool)
    keep: NDArray[np.bool_] = scaled <= positive.mean() + k * positive.std()
    return keep


@given(grids, st.integers(5, 40), st.integers(5, 40))
@settings(max_examples=40, deadline=None)
def test_scaled_maps_span_zero_to_one(grid: tuple[int, int, int, int], height: int, width: int) -> None:
    cams = maps(*grid)
    scaled = upsample_cams(cams, (height, width))
    assert scaled.shape == (len(cams), height, width)
    for each in scaled:
        assert (each.min(), each.max()) in ((0.0, 1.0), (0.0, 0.0))


@given(grids, st.integers(5, 40), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]))
@settings(max_examples=60, deadline=None)
def test_masks_follow_the_rule_over_positive_pixels(grid: tuple[int, int, int, int], size: int, k: float) -> None:
    cams = maps(*grid)
    keep = keep_mask(cams, size, k)
    scaled = upsample_cams(cams, size).numpy()
    expected = np.stack([reference_keep(each, k) for each in scaled])
    assert (keep.numpy() == expected).mean() >= 0.999


def test_a_bright_spot_is_masked_and_the_rest_stays() -> None:
    cams = torch.full((1, 8, 8), 0.1)
    cams[0, 1, 1] = 1.0
    cams[0, 7, 7] = 0.0
    keep = keep_mask(cams, 8)[0]
    assert not keep[1, 1]
    assert keep.sum() == 63


@pytest.mark.parametrize("value", [0.0, 0.7, float("nan"), float("inf")])
def test_a_map_that_points_nowhere_masks_nothing(value: float) -> None:
    cams = torch.full((2, 4, 4), value)
    assert keep_mask(cams, 28).all()
    assert torch.equal(upsample_cams(cams, 28), torch.zeros(2, 28, 28))


def test_one_broken_map_does_not_touch_its_neighbours() -> None:
    cams = maps(3, 6, 6, 5)
    alone = keep_mask(cams[2:], 28)
    cams[0] = 0.0
    cams[1, 2, 2] = float("nan")
    assert torch.equal(keep_mask(cams, 28)[2:], alone)
    assert keep_mask(cams, 28)[:2].all()


def test_tiny_maps_are_scaled_like_large_ones() -> None:
    cams = maps(2, 6, 6, 4)
    torch.testing.assert_close(upsample_cams(cams * 1e-12, 28), upsample_cams(cams, 28))


@given(grids, st.data())
@settings(max_examples=40, deadline=None)
def test_a_mask_in_image_pixels_is_the_map_over_the_box_and_keeps_all_outside(
    grid: tuple[int, int, int, int], data: st.DataObject
) -> None:
    cams = maps(*grid)
    sizes = [(data.draw(st.integers(5, 30)), data.draw(st.integers(5, 30))) for _ in cams]
    boxes = []
    for height, width in sizes:
        rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
        top, left = data.draw(st.integers(0, height - rows)), data.draw(st.integers(0, width - columns))
        boxes.append(Box(top, left, rows, columns))
    masks = image_keep_masks(cams, boxes, sizes, k=1.0)
    for cam, box, size, mask in zip(cams, boxes, sizes, masks, strict=True):
        assert mask.shape == size
        inside = mask[box.top : box.top + box.height, box.left : box.left + box.width]
        np.testing.assert_array_equal(inside, keep_mask(cam[None], (box.height, box.width), k=1.0)[0].numpy())
        assert mask.sum() - inside.sum() == mask.size - inside.size


def test_a_box_over_the_whole_image_equals_the_mask_at_that_size() -> None:
    cams = maps(5, 8, 8, 3)
    masks = image_keep_masks(cams, [Box(0, 0, 28, 28)] * 5, [(28, 28)] * 5)
    np.testing.assert_array_equal(np.stack(masks), keep_mask(cams, 28).numpy())


def test_a_box_that_reaches_over_the_edge_is_cut_there() -> None:
    cams = maps(1, 4, 4, 3)
    (mask,) = image_keep_masks(cams, [Box(-2, 3, 10, 10)], [(6, 8)], k=0.0)
    inside = keep_mask(cams, 10, k=0.0)[0].numpy()
    np.testing.assert_array_equal(mask[0:6, 3:8], inside[2:8, 0:5])
    assert mask[:, :3].all()


def test_lists_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="2 maps, 1 boxes and 2 sizes"):
        image_keep_masks(maps(2, 4, 4, 0), [Box(0, 0, 8, 8)], [(8, 8), (8, 8)])


@given(st.integers(0, 900), st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_a_random_mask_is_one_rectangle_of_the_area_asked_for(area: int, height: int, width: int, index: int) -> None:
    (mask,) = random_square_masks([area], [(height, width)], seed=1, iteration=1, indices=[index])
    assert mask.shape == (height, width)
    rows, columns = (~mask).any(axis=1).sum(), (~mask).any(axis=0).sum()
    assert (~mask).sum() == rows * columns
    if area <= min(height, width) ** 2:
        assert rows == columns == round(area**0.5)
    else:
        assert abs(int((~mask).sum()) - min(area, height * width)) <= max(height, width)


def test_random_masks_depend_on_seed_round_and_index_only() -> None:
    def draw(indices: list[int], seed: int = 0, iteration: int = 1) -> list[bytes]:
        masks = random_square_masks(
            [9] * len(indices), [(28, 28)] * len(indices), seed=seed, iteration=iteration, indices=indices
        )
        return [mask.tobytes() for mask in masks]

    assert draw([4, 9, 7]) == [*draw([4]), *draw([9]), *draw([7])]
    indices = list(range(64))
    assert draw(indices) != draw(indices, seed=1)
    assert draw(indices) != draw(indices, iteration=2)


def test_random_masks_reach_every_place_about_equally() -> None:
    count = 6_000
    masks = random_square_masks([4] * count, [(7, 7)] * count, seed=0, iteration=1, indices=range(count))
    corners = np.array([np.argwhere(~mask)[0] for mask in masks])
    hits = np.bincount(corners[:, 0] * 6 + corners[:, 1], minlength=36)
    assert hits.min() > 0.7 * count / 36
    assert hits.max() < 1.3 * count / 36
