"""What a job had is deleted: its pages say so, and offer what is left."""

from __future__ import annotations

import csv
import json
import re
import uuid
from html import unescape

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from persistence.database import transaction
from persistence.tables import Sample
from tests.api.seeds import Seeds
from tests.web.results import GROUPS, job_with_result


@pytest.fixture
def orphan(seeds: Seeds) -> uuid.UUID:
    """A finished job whose data set was deleted."""
    job_id = job_with_result(seeds)
    seeds.delete_dataset(seeds.look(job_id).dataset_id or uuid.uuid4())
    return job_id


def selected(page: str, name: str) -> list[str]:
    """What is chosen in a select."""
    options = re.findall(rf'<select id="{name}".*?</select>', page, re.DOTALL)[0]
    return re.findall(r'<option value="([^"]*)" selected', options)


def test_the_images_page_offers_the_masks_and_maps_that_are_left(visitor: TestClient, orphan: uuid.UUID) -> None:
    page = visitor.get(f"/jobs/{orphan}/samples").text
    assert "The data set was deleted, and its images with it" in page
    assert re.findall(r'name="view" value="(\w+)"', page) == ["mask"]
    assert re.findall(r'data-picture="(\w+)"', page) == ["before", "after", "mask"]
    assert "The image was deleted with its data set" in page
    # These are what the dialog fetches for them.
    for query in ("view=map&model=before", "view=map&model=after", "view=mask"):
        assert visitor.get(f"/v1/jobs/{orphan}/samples/0/image?{query}").status_code == 200


def test_classes_and_groups_keep_their_names(visitor: TestClient, orphan: uuid.UUID, seeds: Seeds) -> None:
    page = visitor.get(f"/jobs/{orphan}/samples").text
    assert json.loads(unescape(re.findall(r'data-classes="([^"]+)"', page)[0])) == ["0-4", "5-9"]
    groups = re.findall(r'<select name="group">.*?</select>', page, re.DOTALL)[0]
    assert re.findall(r'<option value="(\d+)">([^<]+)<', groups) == [(str(at), name) for at, name in enumerate(GROUPS)]
    rows = list(csv.DictReader(visitor.get(f"/v1/jobs/{orphan}/samples/export?format=csv").text.splitlines()))
    assert [(row["class_name"], row["group_name"]) for row in rows[:2]] == [("0-4", GROUPS[0]), ("5-9", GROUPS[3])]
    detail = visitor.get(f"/v1/jobs/{orphan}/samples/1").json()
    assert (detail["class_name"], detail["group_name"]) == ("5-9", GROUPS[3])
    with transaction(seeds.sessions) as session:
        other = seeds.finished_job()
        session.execute(update(Sample).where(Sample.job_id == other).values(predicted_after=1 - Sample.predicted_after))
    part = visitor.get(f"/compare/samples?first={orphan}&second={other}").text
    assert "<strong>0-4</strong>" in part


def test_with_its_data_set_every_view_is_offered(visitor: TestClient, seeds: Seeds) -> None:
    page = visitor.get(f"/jobs/{job_with_result(seeds)}/samples").text
    assert len(re.findall(r'name="view" value="(\w+)"', page)) == 6
    assert len(re.findall('data-picture="original"', page)) == 2
    assert "was deleted" not in page
    dialog = page.split('id="sample-dialog"')[1]
    assert "Colour scale from dark blue" in dialog


def test_what_it_relied_on_is_shown_by_the_means_that_are_left(visitor: TestClient, orphan: uuid.UUID) -> None:
    for address in (f"/jobs/{orphan}", f"/jobs/{orphan}/insight"):
        page = visitor.get(address).text
        assert "What is left are the means over them" in page
        assert page.count("mean over the training images") == 8
    assert "this report shows none of them" in visitor.get(f"/jobs/{orphan}/report").text


def test_a_clone_without_its_data_set_asks_for_another(visitor: TestClient, seeds: Seeds, orphan: uuid.UUID) -> None:
    seeds.dataset()
    page = visitor.get(f"/jobs/new?clone={orphan}").text
    assert "data set of the job that this is a clone of was deleted: choose another" in page
    assert selected(page, "dataset") == []


def test_a_clone_without_its_checkpoint_says_that_it_would_train(visitor: TestClient, seeds: Seeds) -> None:
    checkpoint, dataset = seeds.checkpoint(), seeds.pictured_dataset()
    job_id = seeds.job(dataset, checkpoint_id=checkpoint)
    token = seeds.claim(job_id)
    seeds.stages(job_id, token, "preparing", "masking", "finetuning", "evaluating")
    seeds.artifact(job_id, token, "erm.safetensors", b"weights")
    seeds.finish(job_id, token)
    kept = visitor.get(f"/jobs/new?clone={job_id}").text
    assert selected(kept, "checkpoint") == [str(checkpoint)]
    assert "was deleted since" not in kept
    seeds.delete_checkpoint(checkpoint)
    page = unescape(visitor.get(f"/jobs/new?clone={job_id}").text)
    assert selected(page, "checkpoint") == []
    assert "started from a checkpoint, which was deleted since" in page
    assert f'<a href="/jobs/{job_id}#downloads-title">its downloads</a>' in page
    # Nor does its own page take it for one that should have trained.
    stages = re.findall(r'<li class="(\w+)"[^>]* data-stage="(\w+)"', visitor.get(f"/jobs/{job_id}").text)
    assert stages == [(("done"), name) for name in ("preparing", "masking", "finetuning", "evaluating")]


def test_a_clone_of_a_job_that_trained_says_nothing_of_a_checkpoint(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job(seeds.pictured_dataset())
    token = seeds.claim(job_id)
    seeds.stages(job_id, token, "preparing", "training_erm", "masking")
    seeds.finish(job_id, token)
    assert "was deleted" not in visitor.get(f"/jobs/new?clone={job_id}").text
