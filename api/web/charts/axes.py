"""Ticks at round numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, with ticks between."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies: 0 at `low`, 1 at `high`; kept within them."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def axis(low: float, high: float, *, most: int = 5, whole: bool = False) -> Axis:
    """An axis that holds both ends and has at most about `most` steps of 1, 2 or 5 times a power of ten.

    `whole` keeps the ticks at whole numbers, for epochs.
    """
    if high <= low:
        high = low + (1.0 if whole or low == 0 else abs(low) * 0.1)
    step = _step((high - low) / most)
    if whole:
        step = max(1.0, round(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def label(value: float) -> str:
    """A tick's text: as short as it can be, never "0.30000000000000004"."""
    return f"{value:.6g}".replace("-", "−")


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    factor: float = next(factor for factor in (1.0, 2.0, 5.0, 10.0) if rough <= factor * power * (1 + 1e-9))
    return factor * power
