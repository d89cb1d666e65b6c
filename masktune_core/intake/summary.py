"""Counts of a data set, for people to look over before they train."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from masktune_core.data.archive import ArchiveIndex
from masktune_core.data.dataset import assign_groups


def summarise(index: ArchiveIndex) -> dict[str, Any]:
    """{"splits": {split: {"count", "classes": {name: count}, "groups": {name: count}}}}.

    Groups are label × the first attribute; there are none without attributes. An empty class or group counts 0.
    """
    groups, group_names = assign_groups(index, None)
    splits = {}
    for code, split in enumerate(index.split_names):
        inside = index.split == code
        splits[split] = {
            "count": int(inside.sum()),
            "classes": _counts(index.label[inside].astype(np.int64), index.classes),
            "groups": _counts(groups[inside], group_names),
        }
    return {"splits": splits}


def _counts(codes: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(names, np.bincount(codes[codes >= 0], minlength=len(names)).tolist(), strict=True))
