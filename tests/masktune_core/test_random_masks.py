"""The control: blocks of exactly the area asked for, anywhere that the network looks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.data.views import Box
from masktune_core.random_masks import random_square_masks

WHOLE = Box(0, 0, 28, 28)


@given(st.integers(0, 900), st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_random_mask_is_one_block_of_exactly_the_area_asked_for(
    area: int, height: int, width: int, data: st.DataObject
) -> None:
    box = Box(*(data.draw(st.integers(-5, 5)) for _ in range(2)), *(data.draw(st.integers(1, 45)) for _ in range(2)))
    (mask,) = random_square_masks([area], [box], [(height, width)], seed=1, iteration=1, indices=[7])
    assert mask.shape == (height, width)
    seen = np.zeros_like(mask)
    seen[max(box.top, 0) : max(box.top + box.height, 0), max(box.left, 0) : max(box.left + box.width, 0)] = True
    assert (mask | seen).all(), "nothing is masked that the network does not see"
    hidden = ~mask
    assert hidden.sum() == min(area, seen.sum())
    if hidden.any():
        lengths = hidden.sum(axis=1)[hidden.any(axis=1)]
        assert (lengths[:-1] == lengths[0]).all()
        assert lengths[-1] <= lengths[0]
        assert (hidden.argmax(axis=1)[hidden.any(axis=1)] == hidden.argmax(axis=1).max()).all(), "one block"
        if area <= min(seen.any(axis=1).sum(), seen.any(axis=0).sum()) ** 2:
            assert abs(len(lengths) - lengths[0]) <= 1, "as near to a square as it goes"


def test_random_masks_depend_on_seed_round_and_index_only() -> None:
    def draw(indices: list[int], seed: int = 0, iteration: int = 1) -> list[bytes]:
        masks = random_square_masks(
            [9] * len(indices),
            [WHOLE] * len(indices),
            [(28, 28)] * len(indices),
            seed=seed,
            iteration=iteration,
            indices=indices,
        )
        return [mask.tobytes() for mask in masks]

    assert draw([4, 9, 7]) == [*draw([4]), *draw([9]), *draw([7])]
    indices = list(range(64))
    assert draw(indices) != draw(indices, seed=1)
    assert draw(indices) != draw(indices, iteration=2)


def test_random_masks_reach_every_place_about_equally() -> None:
    count = 6_000
    masks = random_square_masks(
        [4] * count, [Box(0, 0, 7, 7)] * count, [(7, 7)] * count, seed=0, iteration=1, indices=range(count)
    )
    corners = np.array([np.argwhere(~mask)[0] for mask in masks])
    hits = np.bincount(corners[:, 0] * 6 + corners[:, 1], minlength=36)
    assert hits.min() > 0.7 * count / 36
    assert hits.max() < 1.3 * count / 36
