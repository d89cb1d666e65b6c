"""Browsing what a job found, image by image."""

from __future__ import annotations

import csv
import io
import json
import uuid
import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.rendering.colours import SCALE
from api.rendering.heatmap import heatmap
from masktune_core.config import InputConfig, JobConfig, MaskingConfig
from tests.api.pictured import IMAGES, SIDE, cam, keep_mask, picture, pictured_sample
from tests.api.seeds import Seeds
from tests.api.test_errors import problem


def browse(client: TestClient, job_id: uuid.UUID, **query: Any) -> list[int]:
    """Indices of all samples that the query finds, page by page."""
    seen: list[int] = []
    page: dict[str, Any] = {"next": None, "has_more": True}
    while page["has_more"]:
        after = {"after": page["next"]} if page["next"] else {}
        response = client.get(f"/v1/jobs/{job_id}/samples", params={"limit": 2, **query, **after})
        assert response.status_code == 200, response.text
        page = response.json()
        seen += [sample["index"] for sample in page["data"]]
    return seen


def draw(client: TestClient, job_id: uuid.UUID, index: int, **query: Any) -> npt.NDArray[np.uint8]:
    """The pixels of a picture."""
    response = client.get(f"/v1/jobs/{job_id}/samples/{index}/image", params=query)
    assert response.status_code == 200, response.text
    with Image.open(io.BytesIO(response.content)) as image:
        assert response.headers["content-type"] == f"image/{query.get('format', 'webp')}"
        return np.asarray(image)


def test_a_sample_tells_before_and_after(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    sample = client.get(f"/v1/jobs/{job_id}/samples/3").json()
    listed = client.get(f"/v1/jobs/{job_id}/samples?limit=4").json()["data"][3]
    assert listed.items() <= sample.items()
    names = (sample["class_name"], sample["group_name"], sample["label"], sample["group"])
    assert names == ("5-9", "5-9 · square=yes", 1, 3)
    assert (sample["correct_before"], sample["correct_after"], sample["flipped"]) == (False, True, "fixed")
    assert sample["confidence_drop"] == pytest.approx(0.9 - 0.65)
    problem(client.get(f"/v1/jobs/{job_id}/samples/{IMAGES}"), 404, "sample_not_found")
    for index in ("-1", "x", str(2**31), str(2**70)):
        problem(client.get(f"/v1/jobs/{job_id}/samples/{index}"), 404, "sample_not_found")


MASKED = sorted(range(IMAGES), key=lambda index: (float((~keep_mask(index)).mean()), index))
FOUND: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [0, 1, 2, 3, 4, 5]),
    ({"order": "desc"}, [5, 4, 3, 2, 1, 0]),
    ({"split": "test:biased"}, [4, 5]),
    ({"label": 1}, [1, 3, 5]),
    ({"group": 3}, [1, 3, 5]),
    ({"flipped": "fixed"}, [3]),
    ({"flipped": "broken"}, [2, 4]),
    ({"flipped": "any"}, [2, 3, 4]),
    ({"correct_before": "true"}, [0, 2, 4]),
    ({"correct_after": "false"}, [1, 2, 4, 5]),
    ({"correct_before": "false", "correct_after": "false", "split": "train"}, [1]),
    ({"max_confidence_before": 0.95, "min_confidence": 0.61}, [3, 4, 5]),
    ({"min_confidence_before": 0.95}, []),
    ({"indices": "5,0,3,99"}, [0, 3, 5]),
    ({"indices": "5,0,3", "correct_after": "true", "order": "desc"}, [3, 0]),
    ({"start": 2.5}, [3, 4, 5]),
    ({"start": 3, "order": "desc"}, [3, 2, 1, 0]),
    ({"sort": "heatmap_distance", "start": 0.25}, [3, 4, 5]),
    ({"sort": "heatmap_distance", "start": 0.25, "order": "desc", "split": "train"}, [2, 1, 0]),
    ({"sort": "confidence_drop"}, [5, 4, 3, 2, 1, 0]),
    ({"sort": "confidence_drop", "order": "desc"}, [0, 1, 2, 3, 4, 5]),
    ({"sort": "masked_fraction"}, MASKED),
]
REFUSED = (
    "flipped=yes",
    "sort=label",
    "order=up",
    "label=-1",
    "label=99999999999",
    "split=%00",
    "lable=1",
    "after=x",
    "indices=1,,2",
    "indices=x",
    "indices=" + ",".join(["1"] * 501),
    "start=nan",
    "start=-2",
    "max_confidence_before=1.5",
)


def test_filters_and_sorts(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    for query, expected in FOUND:
        assert browse(client, job_id, **query) == expected, query


def test_an_unknown_filter_value_is_refused(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    for query in REFUSED:
        problem(client.get(f"/v1/jobs/{job_id}/samples?{query}"), 422, "invalid_request")


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_the_views_show_what_is_stored(client: TestClient, seeds: Seeds, encoding: str) -> None:
    job_id = seeds.finished_job()
    keep = keep_mask(2)
    assert np.array_equal(draw(client, job_id, 2, view="original", format=encoding), picture(2))
    mask = draw(client, job_id, 2, view="mask", format=encoding)
    assert np.array_equal(mask if mask.ndim == 2 else mask[:, :, 0], np.where(keep, 255, 0))
    masked = draw(client, job_id, 2, view="masked", format=encoding)
    assert np.array_equal(masked, np.where(keep[:, :, None], picture(2), 0))
    for model in ("before", "after"):
        expected = heatmap(picture(2), cam(2, after=model == "after").astype(np.float32), (0, 0, SIDE, SIDE))
        assert np.array_equal(draw(client, job_id, 2, view="heatmap", model=model, format=encoding), expected)


def test_a_heatmap_covers_what_the_network_saw(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job(JobConfig(input=InputConfig(size=8, resize=12)))
    drawn = draw(client, job_id, 0, view="heatmap")
    expected = heatmap(picture(0), cam(0, after=False).astype(np.float32), (2, 2, 8, 8))
    assert np.array_equal(drawn, expected)


def test_the_fill_is_the_jobs(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job(JobConfig(masking=MaskingConfig(fill="mean")))
    drawn = draw(client, job_id, 1, view="masked")
    keep = keep_mask(1)
    assert np.array_equal(drawn[keep], picture(1)[keep])
    mean = np.rint(picture(1).mean(axis=(0, 1)))
    assert (drawn[~keep] == mean).all()


def test_a_picture_can_be_small(client: TestClient, seeds: Seeds) -> None:
    assert draw(client, seeds.finished_job(), 1, view="masked", max_side=6).shape == (6, 6, 3)


def test_pictures_of_a_finished_job_never_change(client: TestClient, seeds: Seeds) -> None:
    path = f"/v1/jobs/{seeds.finished_job()}/samples/1/image"
    response = client.get(path, params={"view": "heatmap"})
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    etag = response.headers["etag"]
    again = client.get(path, params={"view": "heatmap"}, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    others = [{"view": "mask"}, {"view": "heatmap", "model": "after"}, {"view": "heatmap", "format": "png"}]
    assert len({etag, *(client.get(path, params=other).headers["etag"] for other in others)}) == 4


def test_pictures_of_a_running_job_are_asked_for_again(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job(seeds.pictured_dataset())
    seeds.samples(job_id, seeds.claim(job_id), [pictured_sample(0)])
    response = client.get(f"/v1/jobs/{job_id}/samples/0/image")
    assert response.headers["cache-control"] == "private, no-cache"


def test_without_its_data_set_only_masks_and_maps_are_left(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    drawn = client.get(f"/v1/jobs/{job_id}/samples/0/image?view=map&model=after").content
    dataset_id = seeds.look(job_id).dataset_id
    assert dataset_id is not None
    seeds.delete_dataset(dataset_id)
    path = f"/v1/jobs/{job_id}/samples/0/image"
    for view in ("original", "heatmap", "masked"):
        problem(client.get(path, params={"view": view}), 410, "job_without_dataset")
    assert client.get(path, params={"view": "mask"}).status_code == 200
    assert client.get(path, params={"view": "map", "model": "after"}).content == drawn
    sample = client.get(f"/v1/jobs/{job_id}/samples/0").json()
    # Its own results name its classes; no figure of a group names a group here.
    assert (sample["class_name"], sample["group_name"], sample["label"]) == ("0-4", None, 0)


def test_an_unknown_picture_is_refused(client: TestClient, seeds: Seeds) -> None:
    path = f"/v1/jobs/{seeds.finished_job()}/samples/0/image"
    for query in ("view=saliency", "model=erm", "format=gif", "max_side=0", "size=5"):
        problem(client.get(f"{path}?{query}"), 422, "invalid_request")


def test_an_image_that_does_not_match_its_row(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job(seeds.pictured_dataset())
    seeds.samples(job_id, seeds.claim(job_id), [{**pictured_sample(0), "height": SIDE + 1}])
    problem(client.get(f"/v1/jobs/{job_id}/samples/0/image"), 500, "object_corrupt")


def test_a_sample_tells_the_probability_of_every_class(client: TestClient, seeds: Seeds) -> None:
    sample = client.get(f"/v1/jobs/{seeds.finished_job()}/samples/3").json()
    assert (sample["probabilities_before"], sample["probabilities_after"]) == ([0.25, 0.75], [0.7, 0.3])
    assert sample["heatmap_distance"] == pytest.approx(0.3)


def test_the_total_counts_what_the_list_shows(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    queries: list[dict[str, Any]] = [{}, {"split": "test:biased"}, {"flipped": "any"}, {"label": 1, "flipped": "fixed"}]
    for query in queries:
        total = client.get(f"/v1/jobs/{job_id}/samples/total", params=query).json()["total"]
        assert total == len(browse(client, job_id, **query))
    assert client.get(f"/v1/jobs/{job_id}/samples/total?min_confidence=0.5").json() == {"total": None}


def test_a_map_alone_has_nothing_of_the_image(client: TestClient, seeds: Seeds) -> None:
    drawn = draw(client, seeds.finished_job(), 0, view="map", model="after")
    expected = heatmap(np.zeros_like(picture(0)), cam(0, after=True).astype(np.float32), (0, 0, SIDE, SIDE))
    assert np.array_equal(drawn >> 1, expected)


def test_a_selection_is_taken_away_as_a_table(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    answer = client.get(f"/v1/jobs/{job_id}/samples/export", params={"label": 1, "order": "desc", "limit": 2})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="samples-{job_id}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["index"], row["name"]) for row in rows] == [("5", "images/0005.png"), ("3", "images/0003.png")]
    assert rows[0]["split"] == "test:biased"
    assert float(rows[0]["heatmap_distance"]) == pytest.approx(0.5)


def test_a_selection_is_taken_away_as_a_folder_for_fiftyone(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    answer = client.get(f"/v1/jobs/{job_id}/samples/export", params={"format": "fiftyone", "split": "test:biased"})
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = {
            name: np.asarray(Image.open(archive.open(name))) for name in archive.namelist() if name.endswith(".png")
        }
        metadata, told = (json.loads(archive.read(f"{name}.json")) for name in ("metadata", "samples"))
        assert len(archive.namelist()) == len(files) + 2
    # With a version FiftyOne would take the file for one that it wrote itself.
    assert metadata == {
        "media_type": "image",
        "info": {"default_classes": ["0-4", "5-9"], "default_mask_targets": {"255": "masked"}},
    }
    first, second = told["samples"]
    named = [*(each["filepath"] for each in (first, second)), *(each["mask"]["mask_path"] for each in (first, second))]
    named += [each[f"heatmap_{side}"]["map_path"] for each in (first, second) for side in ("before", "after")]
    assert sorted(named) == sorted(files)
    assert first["filepath"] == "data/00000004.png"
    assert np.array_equal(files["data/00000004.png"], picture(4))
    assert np.array_equal(files["fields/mask/00000004.png"] == 0, keep_mask(4))
    for side in ("before", "after"):
        shown = draw(client, job_id, 4, view="map", model=side)
        assert np.array_equal(SCALE[files[f"fields/heatmap_{side}/00000004.png"]], shown)
    assert second["ground_truth"] == {"_cls": "Classification", "label": "5-9"}
    assert second["prediction_before"] == {"_cls": "Classification", "label": "0-4", "confidence": 0.9}
    assert (second["name"], second["index"], second["tags"]) == ("images/0005.png", 5, ["test:biased"])
    assert (first["tags"], first["flipped"]) == (["test:biased", "broken"], "broken")


def test_chosen_samples_are_taken_away_alone(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    address = f"/v1/jobs/{job_id}/samples/export"
    chosen = {"indices": "5,1,3"}
    table = csv.DictReader(io.StringIO(client.get(address, params=chosen).text))
    assert [row["index"] for row in table] == ["1", "3", "5"]
    folder = client.get(address, params=chosen | {"format": "fiftyone"})
    with zipfile.ZipFile(io.BytesIO(folder.content)) as archive:
        images = [name for name in archive.namelist() if name.startswith("data/")]
        assert images == [f"data/0000000{index}.png" for index in (1, 3, 5)]
    counted = client.get(f"/v1/jobs/{job_id}/samples/total", params=chosen | {"min_confidence": 0.6}).json()
    assert counted == {"total": 2}
    refused = problem(client.get(address, params={"indices": ",".join(["1"] * 501)}), 422, "invalid_request")
    assert "501 samples are named, at most 500 may be" in refused["errors"][0]["detail"]
    refused = problem(client.get(address, params={"indices": "1,x"}), 422, "invalid_request")
    assert "whole numbers separated by commas, such as 3,17,4711" in refused["errors"][0]["detail"]


def test_without_its_data_set_there_is_only_the_table(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.finished_job()
    dataset_id = seeds.look(job_id).dataset_id
    assert dataset_id is not None
    seeds.delete_dataset(dataset_id)
    address = f"/v1/jobs/{job_id}/samples/export"
    problem(client.get(address, params={"format": "fiftyone"}), 410, "job_without_dataset")
    assert len(client.get(address).text.splitlines()) == 1 + IMAGES
