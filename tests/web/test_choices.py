"""Selects offer the newest, and what the address names, however old that is."""

from __future__ import annotations

import re
import uuid

import pytest
from starlette.testclient import TestClient

from tests.api.seeds import Seeds
from tests.web.conftest import csrf_of
from tests.web.forms import form
from tests.web.results import job_with_result
from tests.web.test_deleted import selected


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest one is offered."""
    for module in ("api.web.jobs.listing", "api.web.jobs.form_page", "api.web.compare.pages"):
        monkeypatch.setattr(f"{module}.MOST", 1)


def test_the_form_offers_an_old_data_set_and_checkpoint_that_are_named(visitor: TestClient, seeds: Seeds) -> None:
    dataset, checkpoint = seeds.dataset(), seeds.checkpoint()
    newer = seeds.dataset(), seeds.checkpoint()
    page = visitor.get(f"/jobs/new?dataset={dataset}&checkpoint={checkpoint}").text
    assert (selected(page, "dataset"), selected(page, "checkpoint")) == ([str(dataset)], [str(checkpoint)])
    assert all(f'value="{each}"' in page for each in newer)
    page = visitor.get(f"/jobs/new?clone={seeds.job(dataset, checkpoint_id=checkpoint)}").text
    assert (selected(page, "dataset"), selected(page, "checkpoint")) == ([str(dataset)], [str(checkpoint)])
    # So does the form that comes back with what is wrong.
    again = visitor.post("/jobs", data=form(visitor, dataset, erm__epochs="none"))
    assert again.status_code == 422
    assert selected(again.text, "dataset") == [str(dataset)]


def test_a_data_set_that_is_still_checked_is_offered_with_its_state(visitor: TestClient, seeds: Seeds) -> None:
    waiting = seeds.dataset(ready=False)
    page = visitor.get(f"/jobs/new?dataset={waiting}").text
    assert selected(page, "dataset") == [str(waiting)]
    assert "· validating</option>" in page
    sent = {"csrf_token": csrf_of(visitor), "dataset": str(waiting)}
    [problem] = visitor.post("/jobs/check", data=sent).json()["problems"]
    assert problem["place"] == "dataset"


@pytest.mark.parametrize("name", ["dataset", "checkpoint"])
def test_an_address_that_names_what_is_not_there_leads_nowhere(visitor: TestClient, seeds: Seeds, name: str) -> None:
    seeds.dataset()
    assert visitor.get(f"/jobs/new?{name}={uuid.uuid4()}").status_code == 404


def test_a_form_with_anything_in_it_comes_back(visitor: TestClient, seeds: Seeds) -> None:
    seeds.dataset()
    for nonsense in ("nonsense", str(uuid.uuid4())):
        answer = visitor.post("/jobs", data=form(visitor, nonsense))
        assert answer.status_code == 422
        assert selected(answer.text, "dataset") == []


def test_the_list_of_jobs_names_old_data_sets_and_filters_by_them(visitor: TestClient, seeds: Seeds) -> None:
    old = seeds.dataset()
    seeds.job(old)
    name = re.findall(r"<h1>([^<]+)</h1>", visitor.get(f"/datasets/{old}").text)[0]
    seeds.dataset()
    page = visitor.get("/jobs").text
    assert f'href="/datasets/{old}">{name}</a>' in page
    assert f'<option value="{old}"' not in page
    assert f'<option value="{old}" selected>{name}</option>' in visitor.get(f"/jobs?dataset={old}").text


def test_old_jobs_that_are_compared_are_chosen(visitor: TestClient, seeds: Seeds) -> None:
    first, second, _ = (job_with_result(seeds) for _ in range(3))
    page = visitor.get(f"/compare?job={first}&job={second}").text
    assert re.findall(r'<option value="([^"]*)" selected', page) == [str(first), str(second)]
    # With the zone of the time, which a choice cannot show on hover.
    assert re.search(r"· just now, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC</option>", page)
