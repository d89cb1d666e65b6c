"""The μ + kσ rule, its geometry, and the random control."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from masktune_core import masking as module
from masktune_core.data.views import Box
from masktune_core.masking import image_keep_masks, keep_mask, masked_fractions, spans_of, upsample_cams

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


@given(grids, st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_maps_are_stretched_as_torch_interpolates(grid: tuple[int, int, int, int], height: int, width: int) -> None:
    cams = maps(*grid)
    stretched = F.interpolate(cams[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    low, high = stretched.amin(dim=(1, 2), keepdim=True), stretched.amax(dim=(1, 2), keepdim=True)
    assume(bool(((high - low) > 1e-3).all()))
    torch.testing.assert_close(
        upsample_cams(cams, (height, width)), (stretched - low) / (high - low), atol=1e-4, rtol=0.0
    )


@given(grids, st.integers(5, 40), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]))
@settings(max_examples=60, deadline=None)
def test_masks_follow_the_rule_over_positive_pixels(grid: tuple[int, int, int, int], size: int, k: float) -> None:
    cams = maps(*grid)
    keep = keep_mask(cams, size, k)
    scaled = upsample_cams(cams, size).numpy()
    expected = np.stack([reference_keep(each, k) for each in scaled])
    assert (keep.numpy() == expected).mean() >= 0.999


@pytest.mark.parametrize("count", [3, 1000])
def test_masks_are_the_same_in_any_mode_of_the_caller(count: int) -> None:
    maps = torch.rand(count, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = keep_mask(maps, 28)
    with torch.inference_mode():
        assert torch.equal(keep_mask(maps, 28), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(keep_mask(maps, 28), expected)


@pytest.mark.parametrize("size", [0, (0, 28), (28, -1)])
def test_a_size_without_pixels_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be brought to"):
        keep_mask(torch.rand(2, 8, 8), size)


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
    np.testing.assert_array_equal(np.stack(list(masks)), keep_mask(cams, 28).numpy())


def test_a_box_that_reaches_over_the_edge_is_cut_there() -> None:
    cams = maps(1, 4, 4, 3)
    (mask,) = image_keep_masks(cams, [Box(-2, 3, 10, 10)], [(6, 8)], k=0.0)
    inside = keep_mask(cams, 10, k=0.0)[0].numpy()
    np.testing.assert_array_equal(mask[0:6, 3:8], inside[2:8, 0:5])
    assert mask[:, :3].all()


def test_lists_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="2 maps, 1 boxes and 2 sizes"):
        image_keep_masks(maps(2, 4, 4, 0), [Box(0, 0, 8, 8)], [(8, 8), (8, 8)])


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), max_size=30))
def test_spans_cover_all_images_in_order_and_bound_their_pixels(sizes: list[tuple[int, int]]) -> None:
    spans = list(spans_of(sizes))
    assert [position for span in spans for position in range(span.start, span.stop)] == list(range(len(sizes)))
    for span in spans:
        pixels = sum(height * width for height, width in sizes[span])
        assert pixels <= module._PIXELS_AT_A_TIME or span.stop == span.start + 1


@pytest.mark.parametrize("k", [0.0, 2.0])
def test_a_map_worked_on_in_parts_has_the_same_mask(k: float, monkeypatch: pytest.MonkeyPatch) -> None:
    cams = maps(3, 7, 5, 4)
    cams[1] = 0.0
    whole = keep_mask(cams, (50, 40), k)
    monkeypatch.setattr(module, "_PIXELS_AT_A_TIME", 400)
    assert torch.equal(keep_mask(cams, (50, 40), k), whole)
    boxes, sizes = [Box(1, 2, 50, 40)] * 3, [(52, 44)] * 3
    np.testing.assert_array_equal(np.stack(list(image_keep_masks(cams, boxes, sizes, k)))[:, 1:51, 2:42], whole.numpy())


MEMORY = """
import resource, torch
from masktune_core.masking import keep_mask
torch.set_num_threads(1)
cams = torch.rand(1, 7, 7)
keep_mask(cams, 64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
keep_mask(cams, (4000, 6000))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 24e6)
"""


def test_the_mask_of_a_large_photograph_takes_a_few_times_its_map() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 16, "bytes a pixel; the map itself is 4, and the mask 1"


def test_fractions_are_the_same_for_masks_of_one_size_and_of_several() -> None:
    masks = keep_mask(maps(6, 8, 8, 5), 28, 1.0).numpy()
    np.testing.assert_array_equal(masked_fractions(masks), masked_fractions(list(masks)))
