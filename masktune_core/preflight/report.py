"""The report of a data set that passed intake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from masktune_core.data.archive import SPLIT_ORDER
from masktune_core.data.dataset import Dataset
from masktune_core.intake.normalise import IntakeReport
from masktune_core.preflight.association import contingency, cramers_v
from masktune_core.preflight.duplicates import described, exact_pairs, similar_pairs, verified
from masktune_core.preflight.warnings import warnings_of

FORMAT: Final = 1
_SIZES_LISTED: Final = 10


def preflight(archive: Path, intake: IntakeReport) -> dict[str, Any]:
    """The report on the normalised `archive` that `intake` made, as JSON.

    - `images`, `bytes`; `classes`: count and share of the training split for each; `imbalance`: the largest class over
      the smallest, in training; `splits`: counts by split, class and group.
    - `sizes`: smallest, median and largest width and height in pixels, and the most frequent sizes.
    - `duplicates`: `exact` (the same bytes) and `similar` (looking alike) images in two splits; test sets count as one.
    - `attributes`: for each, its groups by split and its Cramér's V with the label by split, null where undefined.
    - `warnings`: `{"code", "where", "message"}`, where a job could not help or could not be judged.

    Memory grows by some bytes an image; time is bounded for all but counting.
    """
    with Dataset(archive, intake.index, None) as dataset:
        index = dataset.index
        # Several test sets may well show the same images: that is what they are for.
        parts = np.array([SPLIT_ORDER.index(name.split(":")[0]) for name in index.split_names])[index.split]
        exact = exact_pairs(intake.digests, parts)
        candidates, all_found = similar_pairs(intake.fingerprints, parts)
        same = set(map(tuple, exact.tolist()))
        candidates = np.array([pair for pair in candidates.tolist() if tuple(pair) not in same], np.int64).reshape(
            -1, 2
        )
        similar, all_verified = verified(candidates, dataset)
        report = {
            "format": FORMAT,
            "images": len(index),
            "bytes": int(index.length.sum()),
            "classes": _classes(dataset),
            "imbalance": _imbalance(dataset),
            "splits": intake.summary["splits"],
            "sizes": _sizes(index.width, index.height),
            "duplicates": {
                "exact": described(exact, dataset, complete=True),
                "similar": described(similar, dataset, complete=all_found and all_verified),
            },
            "attributes": [_attribute(dataset, position) for position in range(len(index.attributes))],
        }
    return {**report, "warnings": warnings_of(report)}


def _classes(dataset: Dataset) -> list[dict[str, Any]]:
    everywhere = np.bincount(dataset.labels, minlength=len(dataset.classes))
    train = np.bincount(dataset.labels[dataset.splits["train"]], minlength=len(dataset.classes))
    return [
        {"name": name, "count": int(count), "train": int(own), "train_share": float(own / max(train.sum(), 1))}
        for name, count, own in zip(dataset.classes, everywhere, train, strict=True)
    ]


def _imbalance(dataset: Dataset) -> float | None:
    counts = np.bincount(dataset.labels[dataset.splits["train"]], minlength=len(dataset.classes))
    present = counts[counts > 0]
    return float(present.max() / present.min()) if len(present) else None


def _sizes(width: NDArray[np.int32], height: NDArray[np.int32]) -> dict[str, Any]:
    sizes, counts = np.unique(np.stack([width, height], axis=1), axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_SIZES_LISTED]
    return {
        "width": _spread(width),
        "height": _spread(height),
        "distinct": len(sizes),
        "most_frequent": [
            {"width": int(sizes[i, 0]), "height": int(sizes[i, 1]), "count": int(counts[i])} for i in most
        ],
    }


def _spread(values: NDArray[np.int32]) -> dict[str, float]:
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}


def _attribute(dataset: Dataset, position: int) -> dict[str, Any]:
    attribute, values = dataset.index.attributes[position], dataset.index.attribute[:, position]
    groups: dict[str, dict[str, int]] = {}
    association: dict[str, float | None] = {}
    for split, members in dataset.splits.items():
        table = contingency(dataset.labels[members], values[members], len(dataset.classes), len(attribute.values))
        association[split] = cramers_v(table)
        groups[split] = {
            f"{label} · {attribute.name}={value}": int(table[row, column])
            for row, label in enumerate(dataset.classes)
            for column, value in enumerate(attribute.values)
        }
    return {
        "name": attribute.name,
        "values": list(attribute.values),
        "unknown": int((values < 0).sum()),
        "groups": groups,
        "cramers_v": association,
    }
