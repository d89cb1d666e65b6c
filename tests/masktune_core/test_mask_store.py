"""Masks come back as they were put, from any number of images, in flat memory."""

from __future__ import annotations

import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masktune_core.errors import ResumeError
from masktune_core.mask_store import MaskStore


def random_mask(height: int, width: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.random.default_rng(seed).random((height, width)) > 0.3


@given(sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=12), data=st.data())
@settings(max_examples=40, deadline=None)
def test_masks_of_any_sizes_come_back_as_they_were_put(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "masks"
    order = data.draw(st.permutations(range(len(sizes))))
    chosen = order[: data.draw(st.integers(0, len(order)))]
    masks = [random_mask(*sizes[index], seed=index) for index in chosen]
    with MaskStore.create(path, [h for h, _ in sizes], [w for _, w in sizes]) as store:
        store.put(chosen, masks)
        store.flush()
    with MaskStore.open(path) as store:
        assert len(store) == len(sizes)
        for index, size in enumerate(sizes):
            expected = masks[chosen.index(index)] if index in chosen else np.ones(size, dtype=bool)
            np.testing.assert_array_equal(store.get(index), expected)
            assert store.masked_fraction([index])[0] == np.float32((~expected).mean())
            np.testing.assert_array_equal(store.get_each([index, index])[1], expected)
            assert store.deflated(index) == zlib.compress(np.packbits(expected).tobytes(), level=6)


@pytest.fixture
def store(tmp_path: Path) -> MaskStore:
    return MaskStore.create(tmp_path / "masks", [5] * 6, [7] * 6)


def test_what_was_never_put_is_kept_whole(store: MaskStore) -> None:
    assert store.get_batch(range(6)).all()
    assert (store.masked_fraction(range(6)) == 0).all()


def test_a_batch_comes_in_the_order_asked_for_even_twice(store: MaskStore) -> None:
    masks = np.stack([random_mask(5, 7, seed) for seed in range(6)])
    store.put(range(6), torch.from_numpy(masks))
    order = [3, 4, 5, 0, 0, 2]
    np.testing.assert_array_equal(store.get_batch(order), masks[order])
    assert store.get_batch([]).shape == (0, 0, 0)


def test_masks_of_several_sizes_come_in_the_order_asked_for(tmp_path: Path) -> None:
    sizes = [(5, 7), (5, 7), (4, 9), (4, 9), (5, 7)]
    masks = [random_mask(*size, seed) for seed, size in enumerate(sizes)]
    with MaskStore.create(tmp_path / "mixed", [h for h, _ in sizes], [w for _, w in sizes]) as store:
        store.put(range(5), masks)
        for order in ([0, 1, 2, 3, 4], [4, 2, 2, 0], []):
            for found, index in zip(store.get_each(order), order, strict=True):
                np.testing.assert_array_equal(found, masks[index])


def test_a_second_put_replaces_the_first(store: MaskStore) -> None:
    store.put([2], np.zeros((1, 5, 7), dtype=bool))
    assert store.masked_fraction([2])[0] == 1.0
    second = random_mask(5, 7, 1)
    store.put([2], [second])
    np.testing.assert_array_equal(store.get(2), second)
    assert store.get(1).all()
    assert store.get(3).all()


def test_equal_masks_make_equal_files(tmp_path: Path) -> None:
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        with MaskStore.create(tmp_path / name, [9] * 3, [9] * 3) as store:
            store.put(order, [random_mask(9, 9, index) for index in order])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_misuse_is_refused(store: MaskStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="image 1 must be 5 × 7"):
        store.put([0, 1], [np.ones((5, 7), dtype=bool), np.ones((7, 5), dtype=bool)])
    with pytest.raises(ValueError, match="2 indices but 1 masks"):
        store.put([0, 1], np.ones((1, 5, 7), dtype=bool))
    with pytest.raises(IndexError, match="0…5"):
        store.get(6)
    with pytest.raises(IndexError, match="-1"):
        store.get(-1)
    with MaskStore.create(tmp_path / "mixed", [4, 5], [4, 5]) as mixed:
        with pytest.raises(ValueError, match="one size"):
            mixed.get_batch([0, 1])
    with pytest.raises(ValueError, match="positive"):
        MaskStore.create(tmp_path / "none", [4, 0], [4, 4])


@pytest.mark.parametrize("damage", ["empty", "foreign", "truncated", "count"])
def test_a_damaged_file_is_refused(store: MaskStore, damage: str) -> None:
    store.close()
    store.close()
    content = store.path.read_bytes()
    damaged = {
        "empty": b"",
        "foreign": b"PK\x03\x04" + content[4:],
        "truncated": content[:-3],
        "count": content[:8] + (2**63).to_bytes(8, "little") + content[16:],
    }
    store.path.write_bytes(damaged[damage])
    with pytest.raises(ResumeError, match="must be computed again"):
        MaskStore.open(store.path)


def test_threads_may_share_a_store(tmp_path: Path) -> None:
    count = 400
    masks = [random_mask(16, 16, seed) for seed in range(count)]
    with MaskStore.create(tmp_path / "masks", [16] * count, [16] * count) as store:
        store.put(range(count), masks)
        with ThreadPoolExecutor(4) as threads:
            for index, mask in enumerate(threads.map(store.get, range(count))):
                np.testing.assert_array_equal(mask, masks[index])


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """100,000 masks of 64 × 64 are 49 MiB as bits and 390 MiB as bytes: neither may pile up in the process."""
    code = """
import resource, sys
import numpy as np
from pathlib import Path
from masktune_core.mask_store import MaskStore
count = 100_000
store = MaskStore.create(Path(sys.argv[1]), np.full(count, 64), np.full(count, 64))
masks = np.random.default_rng(0).random((1000, 64, 64)) > 0.1
store.put(range(1000), masks)
store.get_batch(range(1000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, count, 1000):
    store.put(range(start, start + 1000), masks)
for start in range(0, count, 1000):
    assert np.array_equal(store.get_batch(range(start, start + 1000)), masks)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "masks")], capture_output=True, text=True, check=True
    )
    scale = 1 if sys.platform == "darwin" else 1024
    assert int(result.stdout) * scale < 16 * 2**20
