"""The report of a job: one file that needs nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import uuid
from html import unescape
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import update
from starlette.testclient import TestClient

from api.rendering.colours import SCALE
from api.web.report.pictures import choose
from persistence.database import transaction
from persistence.samples import SampleFilters
from persistence.tables import Dataset
from tests.api.pictured import IMAGES, cluster, pictured_sample
from tests.api.seeds import Seeds
from tests.web.results import job_with_result, part, result, split

PICTURE = re.compile(r'src="data:image/webp;base64,([^"]+)"')


def report_of(visitor: TestClient, job_id: uuid.UUID, query: str = "") -> str:
    answer = visitor.get(f"/jobs/{job_id}/report{query}")
    assert answer.status_code == 200
    return answer.text


def relied(report: str) -> str:
    """The part about what the job relied on."""
    return report.split('<section class="insight"')[1].split("Maps are means", maxsplit=1)[0]


def test_a_report_needs_nothing_from_anywhere(visitor: TestClient, seeds: Seeds) -> None:
    job_id = job_with_result(seeds)
    answer = visitor.get(f"/jobs/{job_id}/report")
    assert answer.headers["content-disposition"].startswith('attachment; filename="masktune-job-')
    assert not re.search(r'(?:src|href)="(?!data:|#)', answer.text)
    assert "Worst group from 41 % to 97 %" in unescape(answer.text)
    assert "startPicker(document" in answer.text


def test_a_report_says_first_what_the_job_relied_on(visitor: TestClient, seeds: Seeds) -> None:
    report = report_of(visitor, job_with_result(seeds))
    titles = re.findall(r"<h2[^>]*>([^<]+)<", report)
    assert titles[:2] == ["What did it rely on?", "test"]
    assert report.index('class="words"') < report.index("What did it rely on?")
    part = relied(report)
    assert "<strong>0-4.</strong> The same region in the top left corner" in part
    assert "Colour scale from dark blue" in part
    assert re.findall(r"<h3[^>]*>([^<]+)<", part) == ["0-4", "5-9"]
    assert re.findall(r'alt="Image (\d+), heatmap before"', part) == ["0", "2"]
    # Four maps of each class and the mask of the one cluster, as small as they are stored, on the heatmaps' scale.
    maps = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in PICTURE.findall(part)]
    small = [drawn.reshape(4, 3) for drawn in maps if drawn.shape == (2, 2, 3)]
    assert len(small) == 9
    assert {tuple(drawn[0]) for drawn in small} == {tuple(SCALE[4 * position]) for position in range(9)}


def test_without_its_data_set_a_report_keeps_the_maps(visitor: TestClient, seeds: Seeds) -> None:
    job_id = job_with_result(seeds)
    seeds.delete_dataset(seeds.look(job_id).dataset_id or uuid.uuid4())
    report = report_of(visitor, job_id)
    assert "data set deleted" in report
    assert len(PICTURE.findall(report)) == len(PICTURE.findall(relied(report))) == 9
    assert "heatmap before" not in report


def test_a_job_of_which_nothing_is_known_has_a_report_all_the_same(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job(seeds.pictured_dataset())
    token = seeds.claim(job_id)
    seeds.samples(job_id, token, [pictured_sample(index) for index in range(IMAGES)])
    seeds.finish(job_id, token)
    report = report_of(visitor, job_id)
    assert "What did it rely on?" not in report
    assert 'id="images-title"' in report


def test_what_a_job_relied_on_takes_at_most_a_mebibyte(visitor: TestClient, seeds: Seeds) -> None:
    """With many classes and clusters, and maps and images that nothing can compress."""
    side, grid = 64, 32
    clusters = [cluster(share=share, examples=[*range(IMAGES)] * 2) for share in (0.4, 0.3, 0.2, 0.1)]
    names = [f"class {label}" for label in range(20)]
    classes = [
        {"label": label, "name": name, "images": 9, "masked": 9, "clusters": clusters}
        for label, name in enumerate(names)
    ]
    maps = np.random.default_rng(0).integers(0, 256, 20 * (4 + 4) * grid**2, dtype=np.uint8).tobytes()
    job_id = seeds.job(seeds.pictured_dataset(side))
    token = seeds.claim(job_id)
    seeds.samples(job_id, token, [pictured_sample(index, side) for index in range(IMAGES)])
    seeds.insight(job_id, token, {"grid": grid, "clustered": 9, "classes": classes}, maps)
    seeds.finish(job_id, token)
    part = relied(report_of(visitor, job_id))
    assert len(part) <= 2**20
    assert re.findall(r"<h3[^>]*>([^<]+)<", part) == names[:8]
    assert part.count("Share of the cluster") == 8 * 3
    assert 40 <= part.count("heatmap before") <= 60
    # The rest is told in words.
    assert "12 more classes, in words" in part
    assert all(f"<strong>{name}.</strong>" in part for name in names)
    assert part.count("1 smaller cluster<") == 8


def test_small_images_are_enlarged_by_the_pixel_and_photographs_are_not(visitor: TestClient, seeds: Seeds) -> None:
    for side, enlarged in ((12, True), (120, False)):
        job_id = job_with_result(seeds, side=side)
        report = report_of(visitor, job_id)
        for pictures in (report, relied(visitor.get(f"/jobs/{job_id}/insight").text)):
            images = re.findall(r"<img[^>]*>", pictures)
            shown = [image for image in images if "mean over" not in image and "Share of" not in image]
            assert shown
            assert all(('class="pixels"' in image) == enlarged for image in shown)


def test_a_report_shows_the_images_that_were_asked_for(visitor: TestClient, seeds: Seeds) -> None:
    job_id = job_with_result(seeds)
    page = report_of(visitor, job_id, "?sample=1&sample=4")
    chosen = page.split('id="images-title"')[1]
    assert re.findall(r"image (\d+)</span>", chosen) == ["1", "4"]
    assert len(PICTURE.findall(chosen)) == 8
    assert visitor.get(f"/jobs/{job_id}/report?sample=99").status_code == 404


CLASSES = tuple(f"class {label}" for label in range(10))


def of_class(index: int, label: int, **changes: Any) -> dict[str, Any]:
    """A test image that masks cured."""
    told = {"split": "test:biased", "label": label, "group": None, "predicted_before": 0, "predicted_after": label}
    return pictured_sample(index) | told | changes


def test_a_report_shows_first_the_classes_that_matter(visitor: TestClient, seeds: Seeds) -> None:
    """The one with a shortcut, then the one that ERM was worst on, whatever their numbers."""
    judged = {"test:biased": split(0.9, []) | {"classes": [part(name, 0.9, 9) for name in CLASSES]}}
    judged["test:biased"]["classes"][9] |= {"accuracy": 0.1}
    found = [
        {"label": at, "name": name, "images": 9, "masked": 9, "clusters": [cluster()] if at == 7 else []}
        for at, name in enumerate(CLASSES)
    ]
    job_id = seeds.job(seeds.pictured_dataset())
    with transaction(seeds.sessions) as session:
        session.execute(
            update(Dataset).where(Dataset.id == seeds.look(job_id).dataset_id).values(classes=list(CLASSES))
        )
    token = seeds.claim(job_id)
    seeds.samples(job_id, token, [of_class(index, 4 + index) for index in range(IMAGES)])
    told = result() | {"erm": judged, "masktune": judged}
    seeds.artifact(job_id, token, "result.json", json.dumps(told).encode())
    seeds.insight(job_id, token, {"grid": 2, "clustered": 9, "classes": found}, bytes(41 * 4))
    seeds.finish(job_id, token)
    shown = report_of(visitor, job_id).split('id="images-title"')[1]
    assert re.findall(r"<strong>class (\d)</strong>", shown) == ["7", "9", "4", "5", "6", "8"]


def test_a_reports_own_choice_is_bounded_and_goes_on_to_the_other_classes(seeds: Seeds) -> None:
    job_id = seeds.job()
    token = seeds.claim(job_id)
    rows = [
        of_class(label * 4 + nth, label, predicted_before=(label + 1) % 10) for label in range(10) for nth in range(4)
    ]
    rows += [of_class(40, 3, predicted_before=3, predicted_after=0), of_class(41, 8, group=5)]
    seeds.samples(job_id, token, rows)
    first = [SampleFilters(label=8), SampleFilters(group=5)]
    with transaction(seeds.sessions) as session:
        chosen = choose(session, seeds.look(job_id), "test:biased", first)
    # Eight fixed ones, two of a place, of group 5 the only one; the one that broke; four others, one of a place.
    assert chosen == [32, 33, 41, 0, 1, 4, 5, 8, 40, 34, 2, 6, 9]


def test_an_unfinished_job_has_no_report(visitor: TestClient, seeds: Seeds) -> None:
    assert visitor.get(f"/jobs/{seeds.job()}/report").status_code == 409
