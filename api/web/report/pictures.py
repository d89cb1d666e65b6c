"""The images of a report: chosen by the reader, or those that changed sides."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from sqlalchemy.orm import Session

from api.insight.schemas import ClassInsightRead, ClusterRead
from api.samples.endpoints import picture_of
from api.samples.picture import Picture
from api.samples.schemas import Model, PictureQuery, View
from api.web.results.names import after_name
from api.web.results.reading import Result
from persistence import sample_counts, samples
from persistence.samples import SampleFilters
from persistence.store import ObjectStore
from persistence.tables import Dataset, Job, Sample

MOST: Final = 60
_FIXED, _BROKEN, _OTHERS = 8, 4, 4
_PLACES: Final = 4
"""Classes and groups among which so many are shared out, as long as they have enough."""
_SIDE: Final = 160


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample of a report and its pictures, still to be drawn."""

    sample: Sample
    class_name: str
    predicted_before: str
    predicted_after: str
    pictures: tuple[tuple[str, Picture], ...]

    @property
    def verdict(self) -> str:
        """fixed, broken, or nothing."""
        before = self.sample.predicted_before == self.sample.label
        after = self.sample.predicted_after == self.sample.label
        return "" if before == after else ("fixed" if after else "broken")


def choose(session: Session, job: Job, split: str | None, first: Sequence[SampleFilters]) -> list[int]:
    """Numbers of samples worth showing: fixed ones, broken ones, and some others, of `split` if it has any.

    Those of the classes or groups `first`, then those of the other classes. The first ones of each, not the most
    striking ones: a report shall show what is usual.
    """
    found: list[int] = []
    wanted: tuple[tuple[Literal["fixed", "broken"] | None, int], ...] = (
        ("fixed", _FIXED),
        ("broken", _BROKEN),
        (None, _OTHERS),
    )
    for flipped, most in wanted:
        labels = sample_counts.labels(session, job.id, SampleFilters(split=split, flipped=flipped))
        places = [place for place in first if place.label is None or place.label in labels]
        places = list(dict.fromkeys([*places, *(SampleFilters(label=label) for label in labels)]))
        each = math.ceil(most / max(1, min(len(places), _PLACES)))
        left = most
        for place in places:
            wanted_here = min(each, left)
            if not wanted_here:
                break
            filters = replace(place, split=split, flipped=flipped)
            rows = samples.page(session, job.id, filters, limit=wanted_here + len(found)).rows
            fresh = [row.index for row in rows if row.index not in found][:wanted_here]
            found += fresh
            left -= len(fresh)
    return found


def places_that_matter(
    shortcuts: Sequence[tuple[ClassInsightRead, ClusterRead]], result: Result | None, split: str | None
) -> list[SampleFilters]:
    """The class with the strongest shortcut, the group or class that ERM was worst on, then the other shortcuts'."""
    strongest = sorted(shortcuts, key=lambda pair: -pair[1].share * pair[1].tightness)
    found = [SampleFilters(label=each.label) for each, _ in strongest]
    if result is not None and split is not None:
        judged = result["erm"][split]
        parts = judged["groups"] or judged["classes"]
        known = [(part["accuracy"], number) for number, part in enumerate(parts) if part["accuracy"] is not None]
        if known:
            worst = min(known)[1]
            found.insert(1, SampleFilters(group=worst) if judged["groups"] else SampleFilters(label=worst))
    return found


def shown(session: Session, job: Job, dataset: Dataset, indices: Sequence[int]) -> list[Shown]:
    """The samples of these numbers, everything read that drawing them needs. Raises `NotFound`."""
    return [_shown(session, job, dataset, samples.get(session, job.id, index)) for index in indices[:MOST]]


def drawer(store: ObjectStore) -> Callable[[Picture], str]:
    """Draws a picture as a `data:` address."""
    return lambda picture: as_address(picture.draw(store))


def as_address(webp: bytes) -> str:
    """A picture as the address of itself."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _shown(session: Session, job: Job, dataset: Dataset, sample: Sample) -> Shown:
    views: tuple[tuple[str, View, Model], ...] = (
        ("image", "original", "before"),
        ("looked at, ERM", "heatmap", "before"),
        ("masked", "masked", "before"),
        (f"looked at, {after_name(job)}", "heatmap", "after"),
    )
    pictures = tuple(
        (title, picture_of(session, job, sample, PictureQuery(view=view, model=model, max_side=_SIDE)))
        for title, view, model in views
    )
    return Shown(
        sample=sample,
        class_name=_name(dataset, sample.label),
        predicted_before=_name(dataset, sample.predicted_before),
        predicted_after=_name(dataset, sample.predicted_after),
        pictures=pictures,
    )


def _name(dataset: Dataset, label: int) -> str:
    return str(dataset.classes[label]) if label < len(dataset.classes) else str(label)
