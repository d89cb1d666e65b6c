"""What the core reports, as rows of the tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from masktune_core.callbacks import Metric, SampleBatch


def metric_row(metric: Metric) -> dict[str, Any]:
    """A row of `metrics`, without the job's id."""
    return asdict(metric)


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
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
