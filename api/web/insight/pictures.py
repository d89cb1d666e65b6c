"""Where the pictures of `insight/relied.html` come from: on a page the API's addresses."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from api.insight.schemas import ClassInsightRead, ClusterRead, Map
from api.web.pixels import is_small


@dataclass(frozen=True, slots=True)
class Example:
    """An image of a cluster; `href` is where it can be looked at, None where there is nothing to go to."""

    index: int
    src: str
    pixels: bool
    href: str | None = None


class Pictures(Protocol):
    """What the macro asks for; a picture is whatever an `<img>` takes as its source.

    `lazy`: they are fetched one by one, so a browser may leave those out of sight for later.
    """

    lazy: bool

    def map(self, found: ClassInsightRead, name: Map) -> str:
        """A mean map of the class."""

    def mask(self, found: ClassInsightRead, number: int) -> str:
        """The mask of the class's cluster `number`."""

    def examples(self, found: ClassInsightRead, number: int) -> Sequence[Example]:
        """Images of that cluster; none once the data set is gone."""


class Addresses:
    """For a page: pictures that the browser fetches. `sizes` has (width, height) of the examples, by index."""

    lazy = True

    def __init__(self, job_id: uuid.UUID, sizes: Mapping[int, tuple[int, int]]) -> None:
        self._job = f"jobs/{job_id}/samples"
        self._sizes = sizes

    def map(self, found: ClassInsightRead, name: Map) -> str:
        """Its address."""
        return found.map_urls[name]

    def mask(self, found: ClassInsightRead, number: int) -> str:
        """Its address."""
        return found.clusters[number].mask_url

    def examples(self, found: ClassInsightRead, number: int) -> list[Example]:
        """Heatmaps before, each leading to the image among those of its class."""
        cluster: ClusterRead = found.clusters[number]
        return [
            Example(
                index=index,
                src=f"/v1/{self._job}/{index}/image?view=heatmap&max_side=128",
                pixels=is_small(*self._sizes[index]),
                href=f"/{self._job}?label={found.label}&split=train&view=before&image={index}",
            )
            for index in cluster.examples
            if index in self._sizes
        ]
