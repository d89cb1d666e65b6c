"""What the core reports, as rows of the tables."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from masktune_core.callbacks import Metric, SampleBatch
from masktune_core.insight import Insight

_SAMPLE_BYTES: Final = 300


def plain(value: Any) -> Any:
    """The same JSON with null for every number that is not finite: JSON has none, and PostgreSQL takes none in it."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {name: plain(each) for name, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    return value


def metric_row(metric: Metric) -> dict[str, Any]:
    """A row of `metrics`, without the job's id."""
    return {name: plain(value) for name, value in asdict(metric).items()}


def sample_rows(batch: SampleBatch) -> list[dict[str, Any]]:
    """Rows of `samples`, without the job's id: plain Python values, CAM grids as raw float16 bytes."""
    cam_height, cam_width = batch.cam_before.shape[1:]
    before = np.ascontiguousarray(batch.cam_before, dtype=np.float16)
    after = np.ascontiguousarray(batch.cam_after, dtype=np.float16)
    drop = batch.confidence_before - batch.confidence_after
    columns = {
        "index": batch.index.tolist(),
        "split": batch.split,
        "label": batch.label.tolist(),
        "group": [None if group < 0 else group for group in batch.group.tolist()],
        "predicted_before": batch.predicted_before.tolist(),
        "confidence_before": batch.confidence_before.tolist(),
        "predicted_after": batch.predicted_after.tolist(),
        "confidence_after": batch.confidence_after.tolist(),
        "confidence_drop": drop.tolist(),
        "masked_fraction": batch.masked_fraction.tolist(),
        "height": batch.height.tolist(),
        "width": batch.width.tolist(),
        "cam_height": [cam_height] * len(batch.index),
        "cam_width": [cam_width] * len(batch.index),
        "cam_before": [cam.tobytes() for cam in before],
        "cam_after": [cam.tobytes() for cam in after],
        "mask": batch.masks,
        "heatmap_distance": heatmap_distances(before, after).tolist(),
        "probabilities_before": _bytes_of(batch.probabilities_before, len(batch.index)),
        "probabilities_after": _bytes_of(batch.probabilities_after, len(batch.index)),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def row_bytes(row: dict[str, Any]) -> int:
    """About how much memory a row of `samples` takes."""
    return _SAMPLE_BYTES + sum(len(value) for value in row.values() if isinstance(value, bytes))


def insight_row(insight: Insight) -> tuple[dict[str, Any], bytes]:
    """Report and maps as `insights` stores them: class maps, then cluster masks, as deflated uint8 grids."""
    grids = (insight.maps, insight.cluster_masks)
    levels = b"".join(np.rint(np.clip(maps, 0, 1) * 255).astype(np.uint8).tobytes() for maps in grids)
    return plain(insight.as_dict()), zlib.compress(levels)


def heatmap_distances(before: npt.NDArray[np.float16], after: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    """Total variation distance (B,) of maps (B, h, w) ≥ 0, each scaled to sum 1: 0 = the same, 1 = nothing in common.

    Half the sum of |p − q|: the share of attention that would have to move to turn one map into the other. Two maps
    that are zero everywhere are the same, and one of them has nothing in common with any other.
    """
    flat = [maps.reshape(len(maps), -1).astype(np.float64) for maps in (before, after)]
    sums = [maps.sum(axis=1) for maps in flat]
    shares = [maps / np.where(total > 0, total, 1.0)[:, None] for maps, total in zip(flat, sums, strict=True)]
    distances: npt.NDArray[np.float64] = np.abs(shares[0] - shares[1]).sum(axis=1) / 2
    one_is_empty = (sums[0] > 0) != (sums[1] > 0)
    return np.where(one_is_empty, 1.0, distances)


def _bytes_of(probabilities: npt.NDArray[np.float16] | None, count: int) -> list[bytes | None]:
    return [None] * count if probabilities is None else [row.tobytes() for row in probabilities]
