"""What a job relied on, in the order of the page, which the report has as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from api.insight.schemas import ClassInsightRead, ClusterRead, InsightRead

OPEN: Final = 8
"""Classes shown at once; the page folds the rest, and the report tells it in words."""
MOST: Final = 100
"""Classes on a page; the API has all."""


@dataclass(frozen=True, slots=True)
class Relied:
    """The classes with a shortcut first, how many are left out, and the shortcuts of those that are not."""

    first: list[ClassInsightRead]
    rest: list[ClassInsightRead]
    left: int
    shortcuts: list[tuple[ClassInsightRead, ClusterRead]]


def relied(found: InsightRead) -> Relied:
    """In the order in which people look: classes with a shortcut, then the others, each in the data set's order."""
    ordered = sorted(found.classes, key=lambda each: (not _has_shortcut(each), each.label))
    shown = sorted(ordered[:MOST], key=lambda each: each.label)
    return Relied(
        first=ordered[:OPEN],
        rest=ordered[OPEN:MOST],
        left=len(ordered[MOST:]),
        shortcuts=[(each, cluster) for each in shown for cluster in each.clusters if cluster.is_shortcut],
    )


def _has_shortcut(found: ClassInsightRead) -> bool:
    return any(cluster.is_shortcut for cluster in found.clusters)
