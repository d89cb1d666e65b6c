"""Counter-based random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.data.philox import Stream, philox4x32, random_bits, shuffled, uniform

# Known answers for philox4x32-10 published with the Random123 library: counter, key, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_it_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], result: tuple[int, ...]
) -> None:
    given_counter = np.array(counter, dtype=np.uint64)[:, None]
    assert philox4x32(given_counter, key)[:, 0].tolist() == list(result)


@given(st.lists(st.integers(0, 2**31), min_size=1, max_size=20), st.integers(0, 2**31 - 1), st.integers(0, 1000))
def test_a_sample_draws_the_same_alone_and_in_company(indices: list[int], seed: int, epoch: int) -> None:
    together = uniform(np.array(indices), seed=seed, epoch=epoch, stream=Stream.CROP, draws=6)
    for row, index in enumerate(indices):
        alone = uniform(np.array([index]), seed=seed, epoch=epoch, stream=Stream.CROP, draws=6)
        assert (together[row] == alone[0]).all()


def test_every_coordinate_matters() -> None:
    def draw(**changed: int) -> tuple[int, ...]:
        at = {"index": 3, "seed": 5, "epoch": 7, "stream": Stream.FLIP} | changed
        bits = random_bits(
            np.array([at["index"]]), seed=at["seed"], epoch=at["epoch"], stream=Stream(at["stream"]), draws=4
        )
        return tuple(bits[0].tolist())

    draws = [draw(), draw(index=4), draw(seed=6), draw(seed=5 + 2**32), draw(epoch=8), draw(stream=Stream.ORDER)]
    assert len(set(draws)) == len(draws)


def test_numbers_are_uniform_in_the_unit_interval() -> None:
    drawn = uniform(np.arange(20_000), seed=1, epoch=2, stream=Stream.AFFINE, draws=5)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    counts = np.histogram(drawn, bins=10, range=(0, 1))[0] / drawn.size
    assert np.abs(counts - 0.1).max() < 0.005
    assert np.abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 0.03


@given(st.sets(st.integers(0, 10_000), max_size=50), st.randoms(use_true_random=False))
def test_an_epochs_order_is_a_permutation_that_forgets_how_the_indices_came(indices: set[int], random: object) -> None:
    ordered = sorted(indices)
    mixed = list(indices)
    random.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis' own random.Random
    first = shuffled(np.array(mixed, dtype=np.int64), seed=0, epoch=1)
    assert sorted(first.tolist()) == ordered
    assert (first == shuffled(np.array(ordered, dtype=np.int64), seed=0, epoch=1)).all()


def test_epochs_have_different_orders() -> None:
    orders = {tuple(shuffled(np.arange(50), seed=0, epoch=epoch).tolist()) for epoch in range(5)}
    assert len(orders) == 5
