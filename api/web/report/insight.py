"""What did it rely on? The report's first part: words, order and maps of the page, and some of its examples.

Everything is read within the request's transaction and drawn after it. The pictures take at most 1 MiB: maps come as
small as they are stored, and the browser enlarges them; so many examples of that size fit even if no image can be
compressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from api.insight.reading import Levels, all_levels, insight_read
from api.insight.schemas import ClassInsightRead, Map
from api.rendering.maps import mean_map
from api.rendering.pictures import encode
from api.samples.endpoints import picture_of
from api.samples.picture import Picture
from api.samples.schemas import PictureQuery
from api.web.insight.pictures import Example
from api.web.insight.view import relied
from api.web.pixels import is_small
from api.web.report.pictures import as_address
from persistence import insights, samples
from persistence.configs import read_what_can_be_read
from persistence.store import ObjectStore
from persistence.tables import Job, Sample

MOST_CLUSTERS: Final = 3
"""Of a class; the rest is told in words, as further classes are."""
MOST_EXAMPLES: Final = 60
"""Of all clusters together."""
_SIDE: Final = 64
"""Pixels; an example is shown about that large."""
_EXAMPLE: Final = PictureQuery(view="heatmap", model="before", max_side=_SIDE)


def report_insight(session: Session, store: ObjectStore, job: Job) -> dict[str, Any]:
    """Values for `report/insight.html`; `insight` is None when nothing is known."""
    stored = insights.get(session, job.id)
    if stored is None:
        return {"insight": None}
    found = insight_read(stored)
    shown = relied(found, read_what_can_be_read(job.config))
    clusters = [cluster for each in shown.first for cluster in shown.pictured(each, MOST_CLUSTERS)]
    # Once the data set is gone, so are its images; the maps remain.
    each_has = MOST_EXAMPLES // max(len(clusters), 1) if job.dataset_id is not None else 0
    wanted = {index for cluster in clusters for index in cluster.examples[:each_has]}
    chosen = {sample.index: _chosen(session, job, sample) for sample in samples.some(session, job.id, wanted)}
    return {
        "insight": found,
        "relied": shown,
        "pictures": Embedded(all_levels(stored), chosen, each_has, store),
        "most_clusters": MOST_CLUSTERS,
    }


@dataclass(frozen=True, slots=True)
class Chosen:
    """An example that is still to be drawn."""

    picture: Picture
    pixels: bool


class Embedded:
    """For a report: each picture drawn when it is asked for, and given as a `data:` address."""

    lazy = False

    def __init__(self, levels: Levels, chosen: Mapping[int, Chosen], each_has: int, store: ObjectStore) -> None:
        self._levels = levels
        self._chosen = chosen
        self._each_has = each_has
        self._store = store

    def map(self, found: ClassInsightRead, name: Map) -> str:
        """Drawn as small as it is stored."""
        return _drawn(self._levels.of_class(found.label, name))

    def mask(self, found: ClassInsightRead, number: int) -> str:
        """The same of a cluster."""
        return _drawn(self._levels.of_cluster(found.label, number))

    def examples(self, found: ClassInsightRead, number: int) -> list[Example]:
        """Heatmaps before. Raises `ObjectMissing`, `ObjectCorrupt`."""
        wanted = found.clusters[number].examples[: self._each_has]
        return [
            Example(index, as_address(chosen.picture.draw(self._store)), chosen.pixels)
            for index in wanted
            if (chosen := self._chosen.get(index)) is not None
        ]


def _chosen(session: Session, job: Job, sample: Sample) -> Chosen:
    return Chosen(picture_of(session, job, sample, _EXAMPLE), is_small(sample.width, sample.height))


def _drawn(levels: npt.NDArray[np.uint8]) -> str:
    return as_address(encode(mean_map(levels, len(levels)), "webp"))
