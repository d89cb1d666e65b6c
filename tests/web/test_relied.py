"""What did it rely on? The part of a job's page and of its report."""

from __future__ import annotations

import re
import uuid
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from masktune_core.config import resolve_config
from tests.api.pictured import IMAGES, cluster, pictured_sample
from tests.api.seeds import Seeds


def job_that_found(seeds: Seeds, report: dict[str, Any] | None = None, **masking: Any) -> uuid.UUID:
    """A succeeded job with this configuration of masking, and what it relied on."""
    job_id = seeds.job(seeds.pictured_dataset(), resolve_config(None, {"masking": masking}))
    token = seeds.claim(job_id)
    seeds.samples(job_id, token, [pictured_sample(index) for index in range(IMAGES)])
    seeds.insight(job_id, token, report, bytes(200) if report else None)
    seeds.finish(job_id, token)
    return job_id


def parts(visitor: TestClient, job_id: uuid.UUID) -> list[str]:
    """The part as it stands on the job's page and in its report."""
    pages = [unescape(visitor.get(f"/jobs/{job_id}{place}").text) for place in ("", "/report")]
    return [page.split('<section class="insight"')[1].split("Maps are means", maxsplit=1)[0] for page in pages]


@pytest.mark.parametrize(
    ("strategy", "told"), [("none", "it masks nothing"), ("random", "it masks squares at random places")]
)
def test_a_control_has_heatmaps_and_no_verdict(visitor: TestClient, seeds: Seeds, strategy: str, told: str) -> None:
    for part in parts(visitor, job_that_found(seeds, strategy=strategy)):
        assert f"This job is a control: {told}" in " ".join(part.split())
        assert "shortcut stands out" not in part
        assert "like a shortcut" not in part
        assert "something masked" not in part
        assert re.findall(r"<figcaption>([^<]+), <strong>(\w+)", part) == 2 * [
            ("Looked at", "before"),
            ("Looked at", "after"),
        ]
        assert 'class="cluster"' not in part


def test_a_job_that_masks_what_it_relies_on_has_a_verdict(visitor: TestClient, seeds: Seeds) -> None:
    for part in parts(visitor, job_that_found(seeds)):
        assert "control" not in part
        assert part.count("like a shortcut") == 1
        assert ("Masked", "before") in re.findall(r"<figcaption>([^<]+), <strong>([^<]+)", part)


def test_the_masks_of_a_job_of_several_rounds_say_whose_they_are(visitor: TestClient, seeds: Seeds) -> None:
    for part in parts(visitor, job_that_found(seeds, iterations=3)):
        assert re.findall(r"<figcaption>Masked, <strong>([^<]+)", part) == ["round 1 of 3", "round 1 of 3"]


def test_a_cluster_of_one_or_two_images_has_no_row_of_its_own(visitor: TestClient, seeds: Seeds) -> None:
    clusters = [cluster(), cluster(images=3, share=0.03), cluster(images=2, share=0.02), cluster(images=1, share=0.01)]
    classes = [{"label": 0, "name": "0-4", "images": 110, "masked": 96, "clusters": clusters}]
    for part in parts(visitor, job_that_found(seeds, {"grid": 2, "clustered": 110, "classes": classes})):
        assert part.count('<div class="cluster">') == 2
        assert "2 smaller clusters" in part
        assert "A single image, masked most in the top left corner: 4.0 % of the picture." in part
