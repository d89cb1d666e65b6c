"""What a job relied on, over HTTP."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.insight.words import described, is_shortcut, place
from api.rendering.colours import SCALE
from tests.api import pictured
from tests.api.seeds import Seeds
from tests.api.test_errors import problem


def test_a_shortcut_is_named_with_its_place_and_size(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    first, second = client.get(f"/v1/jobs/{job_id}/insight").json()["classes"]
    assert (first["name"], first["images"], first["masked"]) == ("0-4", 110, 100)
    [cluster] = first["clusters"]
    assert cluster["is_shortcut"]
    assert cluster["description"] == (
        "The same region in the top left corner, in 90 % of the masked images: 4.0 % of the picture, and two images "
        "share 80 % of it."
    )
    assert cluster["examples"] == [0, 2]
    assert second["clusters"] == []


@pytest.mark.parametrize(
    ("query", "position"),
    [
        ("label=0&map=heatmap_before", 0),
        ("label=0&map=mask_after", 3),
        ("label=1&map=heatmap_after", 5),
        ("cluster=0", 8),
    ],
)
def test_a_map_is_drawn_on_the_heatmaps_scale(client: TestClient, seeds: Seeds, query: str, position: int) -> None:
    answer = client.get(f"/v1/jobs/{seeds.finished_job()}/insight/image?{query}&side=2")
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    with Image.open(io.BytesIO(answer.content)) as image:
        assert np.array_equal(np.asarray(image).reshape(4, 3), SCALE[4 * position : 4 * position + 4])
    unchanged = client.get(answer.request.url, headers={"If-None-Match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_what_is_not_there_is_said(client: TestClient, seeds: Seeds) -> None:
    problem(client.get(f"/v1/jobs/{seeds.job()}/insight"), 404, "insight_not_found")
    image = f"/v1/jobs/{seeds.finished_job()}/insight/image"
    for query in ("label=2", "label=1&cluster=0", "cluster=1"):
        problem(client.get(f"{image}?{query}"), 404, "insight_not_found")
    problem(client.get(f"{image}?map=average"), 422, "invalid_request")


@pytest.mark.parametrize(
    ("top", "left", "words"),
    [
        (0.1, 0.9, "in the top right corner"),
        (0.9, 0.5, "at the bottom"),
        (0.5, 0.1, "at the left"),
        (0.5, 0.5, "in the middle"),
    ],
)
def test_places_have_names(top: float, left: float, words: str) -> None:
    assert place(top, left) == words


def test_what_is_spread_out_or_rare_is_no_shortcut() -> None:
    where = {"top": 0.5, "left": 0.5}
    cluster = {"images": 90, "share": 0.9, "tightness": 0.3, "overlap": 0.35, "masked_fraction": 0.2} | where
    assert not is_shortcut(cluster)
    assert described(cluster).startswith("Regions in different places")
    assert not is_shortcut({**cluster, "tightness": 0.9, "share": 0.1})


@pytest.mark.parametrize(("images", "words"), [(1, "A single image, masked most"), (2, "Two images, masked most")])
def test_one_or_two_images_are_not_said_to_be_alike(images: int, words: str) -> None:
    assert described(pictured.cluster(images=images, overlap=1.0, share=0.01)).startswith(
        f"{words} in the top left corner"
    )
