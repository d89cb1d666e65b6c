"""From the stored row to what clients see and to the maps."""

from __future__ import annotations

import uuid
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from api.errors import ApiError
from api.insight.schemas import MAPS, ClassInsightRead, ClusterRead, InsightRead, MapQuery
from api.insight.words import described, is_shortcut
from persistence.tables import Insight


def insight_read(insight: Insight) -> InsightRead:
    """Everything but the maps, which have addresses."""
    report = insight.report
    return InsightRead(
        clustered=report["clustered"], classes=[_class_read(insight.job_id, found) for found in report["classes"]]
    )


def levels_of(insight: Insight, query: MapQuery) -> npt.NDArray[np.uint8]:
    """The map asked for, (G, G) uint8 with 255 = 1. Raises `ApiError` (404) for a class or cluster that is not."""
    grid, classes = insight.report["grid"], insight.report["classes"]
    if query.label >= len(classes):
        raise ApiError("insight_not_found", f"The job has classes 0 to {len(classes) - 1}, not {query.label}.")
    clusters = classes[query.label]["clusters"]
    if query.cluster is not None and query.cluster >= len(clusters):
        raise ApiError("insight_not_found", f"Class {query.label} has {len(clusters)} clusters; they count from 0.")
    position = query.label * len(MAPS) + MAPS.index(query.map)
    if query.cluster is not None:
        before = sum(len(found["clusters"]) for found in classes[: query.label])
        position = len(classes) * len(MAPS) + before + query.cluster
    levels = np.frombuffer(zlib.decompress(insight.maps), dtype=np.uint8).reshape(-1, grid, grid)
    wanted: npt.NDArray[np.uint8] = levels[position]
    return wanted


def _class_read(job_id: uuid.UUID, found: dict[str, Any]) -> ClassInsightRead:
    address = f"/v1/jobs/{job_id}/insight/image?label={found['label']}"
    return ClassInsightRead(
        label=found["label"],
        name=found["name"],
        images=found["images"],
        masked=found["masked"],
        map_urls={name: f"{address}&map={name}" for name in MAPS},
        clusters=[
            ClusterRead(
                **cluster,
                is_shortcut=is_shortcut(cluster),
                description=described(cluster),
                mask_url=f"{address}&cluster={number}",
            )
            for number, cluster in enumerate(found["clusters"])
        ],
    )
