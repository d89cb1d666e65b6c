"""Counter-based random numbers: the value at (seed, epoch, sample index) needs no history.

Philox4x32-10 from Salmon, Moraes, Dror, Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3* (SC 2011), vectorised over
samples. Results never depend on how many samples are drawn together, in which order, or by which thread, so a run can
go on from the middle of an epoch.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS: Final = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_LOW: Final = np.uint64(0xFFFFFFFF)
_SHIFT: Final = np.uint64(32)


class Stream(IntEnum):
    """What the numbers are for; each purpose has its own sequence."""

    ORDER = 0
    CROP = 1
    FLIP = 2
    AFFINE = 3
    JITTER = 4
    LIGHTING = 5


def philox4x32(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Ten rounds over `counter` (4, N) with `key`: 32-bit numbers held in 64 bits, both ways."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def random_bits(indices: NDArray[np.int64], *, seed: int, epoch: int, stream: Stream, draws: int) -> NDArray[np.uint64]:
    """(N, draws) integers below 2**32, a function of (seed, epoch, stream, index, draw) alone."""
    index = np.asarray(indices, dtype=np.uint64)
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    blocks = []
    for block in range((draws + 3) // 4):
        counter = np.empty((4, len(index)), dtype=np.uint64)
        counter[0], counter[1], counter[2], counter[3] = index, block, epoch, int(stream)
        blocks.append(philox4x32(counter, key).T)
    return np.concatenate(blocks, axis=1)[:, :draws]


def uniform(indices: NDArray[np.int64], *, seed: int, epoch: int, stream: Stream, draws: int) -> NDArray[np.float64]:
    """(N, draws) numbers in [0, 1), a function of (seed, epoch, stream, index, draw) alone."""
    bits = random_bits(indices, seed=seed, epoch=epoch, stream=stream, draws=draws)
    return bits.astype(np.float64) * 2.0**-32


def shuffled(indices: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """`indices` in the random order of an epoch; whatever order they come in, the result is the same."""
    order = np.sort(np.asarray(indices, dtype=np.int64))
    bits = random_bits(order, seed=seed, epoch=epoch, stream=Stream.ORDER, draws=2)
    return order[np.argsort((bits[:, 0] << _SHIFT) | bits[:, 1], kind="stable")]
