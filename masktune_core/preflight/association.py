"""How closely a label and an attribute go together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def contingency(labels: NDArray[np.integer], values: NDArray[np.integer], rows: int, columns: int) -> NDArray[np.int64]:
    """Counts (rows, columns) of label × attribute value; negative values, unknown ones, are left out."""
    known = values >= 0
    codes = labels[known].astype(np.int64) * columns + values[known]
    return np.bincount(codes, minlength=rows * columns).reshape(rows, columns)


def cramers_v(table: NDArray[np.int64]) -> float | None:
    """Cramér's V of a table of counts: 0 for independent, 1 where one determines the other (Cramér 1946, section 21.9).

    Rows and columns without counts are left out. None when fewer than two of either are left.
    """
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape, default=0) < 2:
        return None
    total = float(table.sum())
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    chi_squared = float(((table - expected) ** 2 / expected).sum())
    return float(min(np.sqrt(chi_squared / (total * (min(table.shape) - 1))), 1.0))
