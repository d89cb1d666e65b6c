"""Images that lie in two splits, the same or nearly so: what a test split must not share with training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktune_core.data.dataset import Dataset

Pairs = NDArray[np.int64]

_BANDS: Final = 4
_DISTANCE: Final = 3  # of 64 bits; with four bands, two hashes that close agree in at least one
_LARGEST_BUCKET: Final = 2000  # what so many images share is the data's style
_MOST_CANDIDATES: Final = 200_000
_MOST_VERIFIED: Final = 2000
_SIDE: Final = 32
_DIFFERENCE: Final = 3.0  # mean of absolute grey levels, of 255
_LISTED: Final = 20


def exact_pairs(digests: NDArray[np.uint64], splits: NDArray[np.integer]) -> Pairs:
    """(P, 2): each image whose bytes an image of an earlier split has as well, with the first such image."""
    order = np.lexsort((np.arange(len(digests)), splits, digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    leaked = splits[order] != splits[first]
    pairs = np.stack([first[leaked], order[leaked]], axis=1)
    return pairs[np.argsort(pairs[:, 1])]


def similar_pairs(fingerprints: NDArray[np.uint64], splits: NDArray[np.integer]) -> tuple[Pairs, bool]:
    """(P, 2) candidates: images of two splits whose hashes differ in at most 3 of 64 bits; and whether all were found.

    Bounded in time and memory: what more than 2,000 images have in common is passed over, and so are flat images.
    """
    telling = (np.bitwise_count(fingerprints) >= 6) & (np.bitwise_count(fingerprints) <= 58)
    found: dict[tuple[int, int], None] = {}
    whole = True
    for band in range(_BANDS):
        keys = (fingerprints >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        for members in _buckets(keys, telling):
            if len(members) > _LARGEST_BUCKET:
                whole = False
                continue
            for pair in _within(members, fingerprints, splits):
                found.setdefault(pair)
            if len(found) > _MOST_CANDIDATES:
                return np.array(list(found), dtype=np.int64), False
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2), whole


def verified(pairs: Pairs, dataset: Dataset) -> tuple[Pairs, bool]:
    """Those of the candidates that look alike, both scaled to 32 × 32 grey levels; and whether all were looked at."""
    small: dict[int, NDArray[np.float32]] = {}

    def shrunk(index: int) -> NDArray[np.float32]:
        if index not in small:
            image = Image.fromarray(dataset.read(index)).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
            small[index] = np.asarray(image, dtype=np.float32)
        return small[index]

    looked_at = pairs[:_MOST_VERIFIED]
    kept = [
        (one, other)
        for one, other in looked_at.tolist()
        if float(np.abs(shrunk(one) - shrunk(other)).mean()) <= _DIFFERENCE
    ]
    return np.array(kept, dtype=np.int64).reshape(-1, 2), len(looked_at) == len(pairs)


def described(pairs: Pairs, dataset: Dataset, *, complete: bool) -> dict[str, Any]:
    """{"images", "between": [{"splits", "count"}], "examples": [[name, name]], "complete"}."""
    names, splits = dataset.index.names, dataset.index.split
    between: dict[tuple[int, int], int] = {}
    for one, other in pairs.tolist():
        low, high = sorted((int(splits[one]), int(splits[other])))
        between[low, high] = between.get((low, high), 0) + 1
    split_names = dataset.index.split_names
    return {
        "images": len(np.unique(pairs[:, 1])) if len(pairs) else 0,
        "between": [
            {"splits": [split_names[low], split_names[high]], "count": count}
            for (low, high), count in sorted(between.items())
        ],
        "examples": [[names[one], names[other]] for one, other in pairs[:_LISTED].tolist()],
        "complete": complete,
    }


def _buckets(keys: NDArray[np.uint64], telling: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    places = np.flatnonzero(telling)
    order = places[np.argsort(keys[places], kind="stable")]
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    yield from (members for members in np.split(order, edges) if len(members) > 1)


def _within(
    members: NDArray[np.int64], fingerprints: NDArray[np.uint64], splits: NDArray[np.integer]
) -> Iterator[tuple[int, int]]:
    own = splits[members]
    if (own == own[0]).all():
        return
    hashes = fingerprints[members]
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= _DISTANCE
    near &= own[:, None] < own[None, :]
    for one, other in np.argwhere(near).tolist():
        yield int(members[one]), int(members[other])
