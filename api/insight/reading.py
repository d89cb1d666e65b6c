"""From the stored row to what clients see and to the maps."""

from __future__ import annotations

import uuid
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from api.errors import ApiError
from api.insight.schemas import MAPS, ClassInsightRead, ClusterRead, InsightRead, Map, MapQuery
from api.insight.words import described, is_shortcut
from persistence.tables import Insight


def insight_read(insight: Insight) -> InsightRead:
    """Everything but the maps, which have addresses."""
    report = insight.report
    return InsightRead(
        clustered=report["clustered"], classes=[_class_read(insight.job_id, found) for found in report["classes"]]
    )


@dataclass(frozen=True, slots=True)
class Levels:
    """All maps of a job, inflated: `maps` (N, G, G) uint8, 255 = 1, those of classes first, then one per cluster."""

    maps: npt.NDArray[np.uint8]
    clusters: tuple[int, ...]  # how many each class has

    def of_class(self, label: int, name: Map) -> npt.NDArray[np.uint8]:
        """One of the class's maps, (G, G)."""
        wanted: npt.NDArray[np.uint8] = self.maps[label * len(MAPS) + MAPS.index(name)]
        return wanted

    def of_cluster(self, label: int, number: int) -> npt.NDArray[np.uint8]:
        """The mask of the class's cluster `number`, (G, G)."""
        first = len(self.clusters) * len(MAPS) + sum(self.clusters[:label])
        wanted: npt.NDArray[np.uint8] = self.maps[first + number]
        return wanted


def all_levels(insight: Insight) -> Levels:
    """Every map at once; they are stored as one deflated block."""
    grid, classes = insight.report["grid"], insight.report["classes"]
    maps = np.frombuffer(zlib.decompress(insight.maps), dtype=np.uint8).reshape(-1, grid, grid)
    return Levels(maps, tuple(len(found["clusters"]) for found in classes))


def levels_of(insight: Insight, query: MapQuery) -> npt.NDArray[np.uint8]:
    """The map asked for, (G, G) uint8 with 255 = 1. Raises `ApiError` (404) for a class or cluster that is not."""
    levels = all_levels(insight)
    if query.label >= len(levels.clusters):
        raise ApiError("insight_not_found", f"The job has classes 0 to {len(levels.clusters) - 1}, not {query.label}.")
    if query.cluster is None:
        return levels.of_class(query.label, query.map)
    count = levels.clusters[query.label]
    if query.cluster >= count:
        raise ApiError("insight_not_found", f"Class {query.label} has {count} clusters; they count from 0.")
    return levels.of_cluster(query.label, query.cluster)


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
