"""What the core reports, as rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from worker.rows import heatmap_distances

MAPS = arrays.arrays(np.float16, (4, 3, 5), elements=st.floats(0, 8, width=16))


def test_the_distance_is_the_share_of_attention_that_moved() -> None:
    before = np.array([[[2, 2]], [[4, 0]], [[1, 0]], [[0, 0]], [[0, 0]]], dtype=np.float16)
    after = np.array([[[3, 3]], [[2, 2]], [[0, 5]], [[0, 0]], [[0, 1]]], dtype=np.float16)
    assert heatmap_distances(before, after).tolist() == [0.0, 0.5, 1.0, 0.0, 1.0]


@given(MAPS, MAPS)
def test_it_is_a_distance_between_0_and_1_that_no_scale_changes(
    before: np.ndarray[tuple[int, ...], np.dtype[np.float16]], after: np.ndarray[tuple[int, ...], np.dtype[np.float16]]
) -> None:
    found = heatmap_distances(before, after)
    assert ((found >= 0) & (found <= 1 + 1e-9)).all()
    assert heatmap_distances(after, before) == pytest.approx(found)
    assert heatmap_distances(before.astype(np.float32) * 2, after) == pytest.approx(found)  # type: ignore[arg-type]
    assert not heatmap_distances(before, before).any()
