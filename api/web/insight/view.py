"""What a job relied on, in the order of the page, which the report has as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from api.insight.schemas import ClassInsightRead, ClusterRead, InsightRead
from api.insight.words import LEAST_IMAGES
from masktune_core.config import JobConfig, MaskingConfig

OPEN: Final = 8
"""Classes shown at once; the page folds the rest, and the report tells it in words."""
MOST: Final = 100
"""Classes on a page; the API has all."""

Control = Literal["random", "none"]


@dataclass(frozen=True, slots=True)
class Relied:
    """The classes with a shortcut first, how many are left out, and the shortcuts of those that are not.

    `control` is set for a job whose masks say nothing of the model: its classes come without clusters. `rounds` says
    whose masks are shown, where there were several.
    """

    first: list[ClassInsightRead]
    rest: list[ClassInsightRead]
    left: int
    shortcuts: list[tuple[ClassInsightRead, ClusterRead]]
    control: Control | None
    rounds: str

    def pictured(self, found: ClassInsightRead, most: int | None = None) -> list[ClusterRead]:
        """The clusters that are shown with pictures, at most so many; the others, all smaller, are told in words."""
        return [cluster for cluster in found.clusters[:most] if cluster.images >= LEAST_IMAGES]


def relied(found: InsightRead, config: JobConfig) -> Relied:
    """In the order in which people look: classes with a shortcut, then the others, each in the data set's order."""
    control = control_of(config.masking)
    classes = found.classes if control is None else [each.model_copy(update={"clusters": []}) for each in found.classes]
    ordered = sorted(classes, key=lambda each: (not _has_shortcut(each), each.label))
    shown = sorted(ordered[:MOST], key=lambda each: each.label)
    return Relied(
        first=ordered[:OPEN],
        rest=ordered[OPEN:MOST],
        left=len(ordered[MOST:]),
        shortcuts=[(each, cluster) for each in shown for cluster in each.clusters if cluster.is_shortcut],
        control=control,
        rounds=_rounds(config.masking),
    )


def control_of(masking: MaskingConfig) -> Control | None:
    """Which control a job is; None for one that masks what its model relies on."""
    controls: dict[str, Control] = {"random_mask": "random", "none": "none"}
    return controls.get(masking.strategy)


def _rounds(masking: MaskingConfig) -> str:
    """The first round's masks are shown: later rounds look at a model that no longer relies on the same."""
    return "" if masking.iterations == 1 else f"round 1 of {masking.iterations}"


def _has_shortcut(found: ClassInsightRead) -> bool:
    return any(cluster.is_shortcut for cluster in found.clusters)
