"""A data set of a thousand classes, from the run to the pages."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.web.results.figures import MOST_PARTS
from api.web.results.reading import LARGEST
from masktune_core.config import resolve_config
from masktune_core.data.archive import ArchiveWriter, Attribute, ImageRow
from masktune_core.data.dataset import Dataset
from masktune_core.pipeline import Result, run
from persistence import insights
from persistence.database import transaction
from persistence.tables import Dataset as DatasetRow
from tests.api.seeds import Seeds
from tests.masktune_core.archives import picture, png
from tests.masktune_core.recorder import Recorder
from worker.rows import insight_row

CLASSES = 1000
TAUGHT = 250  # of them, with an image for training and one for testing
NAMES = tuple(f"n{number:08}, a kind of animal, plant or thing" for number in range(CLASSES))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """Every fourth class has an image for training and one for testing, of one of two places."""
    path = tmp_path_factory.mktemp("many") / "dataset.zip"
    images = [png(picture(seed)) for seed in range(20)]
    with ArchiveWriter(path, classes=NAMES, attributes=[Attribute("place", ("land", "sea"))], layout="test") as writer:
        for number in range(2 * TAUGHT):
            label = number // 2 * (CLASSES // TAUGHT)
            row = ImageRow(f"{number:04}.png", ("train", "test")[number % 2], label, (number // 4 % 2,), 8, 8)
            writer.add(row, images[number % len(images)])
        writer.finish()
    with Dataset.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def finished(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Recorder]:
    recorder = Recorder()
    config = resolve_config("biased_mnist", {"erm": {"epochs": 1}, "masking": {"iterations": 2}})
    return run(config, dataset, work_dir=tmp_path_factory.mktemp("run"), callbacks=recorder), recorder


def test_the_result_holds_every_class_and_no_model_twice(finished: tuple[Result, Recorder]) -> None:
    result, recorder = finished
    assert result.artifacts["result.json"].stat().st_size < LARGEST / 10
    assert len(result.rounds) == 2
    for split in ("train", "test"):
        found = result.masktune.splits[split]
        assert (len(found.classes), len(found.groups), found.confusion) == (CLASSES, 2 * CLASSES, None)
        assert sum(count for _, _, count in found.mistakes) == round(found.count * (1 - found.accuracy))
    assert len(recorder.metrics) < 200  # none for each of 2,000 groups
    assert recorder.value("worst_group_accuracy", stage="evaluating", iteration=2, split="test") is not None


def test_the_page_and_the_report_show_what_there_is_room_for(
    visitor: TestClient,
    seeds: Seeds,
    sessions: sessionmaker[Session],
    finished: tuple[Result, Recorder],
) -> None:
    result, recorder = finished
    job_id = seeds.job(seeds.pictured_dataset())
    with transaction(sessions) as session:
        session.execute(update(DatasetRow).values(classes=list(NAMES), summary=summary()))
    token = seeds.claim(job_id)
    seeds.artifact(job_id, token, "result.json", result.artifacts["result.json"].read_bytes())
    report, maps = insight_row(recorder.insights[0])
    with transaction(sessions) as session:
        insights.put(session, job_id, token, report, maps)
    seeds.finish(job_id, token)
    for address in (f"/jobs/{job_id}", f"/jobs/{job_id}/report"):
        page = unescape(visitor.get(address).text)
        assert f"The {MOST_PARTS} that ERM was worst on, of {TAUGHT}" in page
        assert "1,000 classes are too many for a table here" in page
        assert re.search(r"<tr><th scope=\"row\">n0\d+, .*?</th><td>n0", page)
        assert len(page) < 2**20
    page = visitor.get(f"/compare?job={job_id}&job={copy_of(seeds, job_id, result)}").text
    assert page.count('<tr class="part">') == 2 * MOST_PARTS
    assert len(page) < 2**20
    assert visitor.get(f"/datasets/{seeds.look(job_id).dataset_id}").status_code == 200


def copy_of(seeds: Seeds, job_id: uuid.UUID, result: Result) -> uuid.UUID:
    """Another job with the same result."""
    copy = seeds.job(seeds.look(job_id).dataset_id)
    token = seeds.claim(copy)
    seeds.artifact(copy, token, "result.json", result.artifacts["result.json"].read_bytes())
    seeds.finish(copy, token)
    return copy


def summary() -> dict[str, Any]:
    """As intake writes it."""
    groups = {f"{name} · place={value}": 1 for name in NAMES for value in ("land", "sea")}
    part = {"count": 2 * CLASSES, "classes": dict.fromkeys(NAMES, 2), "groups": groups}
    return {"splits": {"train": part, "test": part}}
