"""Pages about jobs: the list, the form, a job."""

from __future__ import annotations

import re
import uuid
from html import unescape

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from persistence.database import transaction
from persistence.tables import Dataset, Tenant
from tests.api.seeds import Seeds
from tests.web.conftest import csrf_of
from tests.web.forms import form
from tests.web.results import finish_with_result, job_with_result, result


def main(page: str) -> str:
    """What stands below the navigation."""
    return page.split("<main")[1]


def test_an_empty_list_says_what_to_do(visitor: TestClient, seeds: Seeds) -> None:
    page = main(visitor.get("/jobs").text)
    assert "No jobs yet" in page
    assert '<a class="button" href="/datasets">Upload a data set</a>' in page
    seeds.dataset()
    assert '<a class="button" href="/jobs/new">Submit the first job</a>' in main(visitor.get("/jobs").text)


def test_the_list_is_filtered_by_status_data_set_and_name(visitor: TestClient, seeds: Seeds) -> None:
    done, queued = seeds.finished_job(), seeds.job()
    dataset = seeds.look(queued).dataset_id

    def listed(query: str) -> set[str]:
        return set(re.findall(r'href="/jobs/([0-9a-f-]{36})"', visitor.get(f"/jobs?{query}").text))

    assert listed("") == {str(done), str(queued)}
    assert listed("status=succeeded&dataset=&name=") == {str(done)}
    assert listed(f"dataset={dataset}") == {str(queued)}
    assert listed("name=JO") == {str(done), str(queued)}
    assert listed("name=%25") == set()
    assert "No job fits" in visitor.get("/jobs?status=failed").text


def test_a_script_gets_the_rows_alone(visitor: TestClient, seeds: Seeds) -> None:
    seeds.job()
    rows = visitor.get("/jobs", headers={"HX-Request": "true"}).text
    assert rows.strip().startswith("<tr")


def test_the_list_goes_on_where_a_page_ends(visitor: TestClient, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.web.jobs.listing._PAGE", 2)
    dataset = seeds.dataset()
    made = {str(seeds.job(dataset)) for _ in range(3)}
    first = visitor.get("/jobs").text
    more = unescape(re.findall(r'hx-get="(/jobs\?[^"]+)"', first)[0])
    seen = re.findall(r'href="/jobs/([0-9a-f-]{36})"', first + visitor.get(more).text)
    assert sorted(seen) == sorted(made)


def test_a_job_is_submitted_as_the_form_says(visitor: TestClient, seeds: Seeds) -> None:
    sent = form(visitor, seeds.dataset(), seed="7", erm__epochs="3", masking__strategy="random_mask")
    answer = visitor.post("/jobs", data=sent, follow_redirects=False)
    assert answer.status_code == 303
    job = seeds.look(uuid.UUID(answer.headers["location"].removeprefix("/jobs/")))
    assert (job.name, job.config["preset"], job.config["seed"]) == ("by hand", "biased_mnist", 7)
    assert (job.config["erm"]["epochs"], job.config["masking"]["strategy"]) == (3, "random_mask")
    # Sent once more, as by a double click: the same job.
    assert visitor.post("/jobs", data=sent, follow_redirects=False).headers["location"] == f"/jobs/{job.id}"


def test_what_is_wrong_stands_beside_its_field_and_nothing_is_queued(visitor: TestClient, seeds: Seeds) -> None:
    sent = form(visitor, seeds.dataset(), erm__epochs="none", model__architecture="resnet5", data__group_by="hat")
    answer = visitor.post("/jobs", data=sent)
    assert answer.status_code == 422
    told = dict(re.findall(r'data-error="([^"]+)">([^<]+)<', unescape(answer.text)))
    assert set(told) == {"erm.epochs", "model.architecture"}
    assert "resnet5" in told["model.architecture"]
    assert 'value="none"' in answer.text
    assert visitor.get("/v1/jobs").json()["data"] == []


def test_the_form_is_checked_while_it_is_filled_in(visitor: TestClient, seeds: Seeds) -> None:
    def problems(**changes: str) -> dict[str, str]:
        answer = visitor.post("/jobs/check", data=form(visitor, dataset, **changes)).json()
        return {each["place"]: each["detail"] for each in answer["problems"]}

    dataset: uuid.UUID | str = seeds.dataset()
    assert problems() == {}
    assert set(problems(erm__optimizer__lr="0", data__group_by="hat")) == {"erm.optimizer.lr"}
    assert "hat" in problems(data__group_by="hat")["data.group_by"]
    dataset = ""
    assert problems(seed="-1") == {
        "dataset": "Choose a data set.",
        "seed": "Input should be greater than or equal to 0.",
    }
    dataset = str(uuid.uuid4())
    assert set(problems()) == {"dataset"}
    assert visitor.get("/v1/jobs").json()["data"] == []


def test_warnings_of_the_data_set_say_where(visitor: TestClient, seeds: Seeds) -> None:
    dataset = seeds.dataset()
    warning = {"code": "group_empty", "where": "test:biased", "message": "no image is in the group 'cow · sea'"}
    with transaction(seeds.sessions) as session:
        session.get_one(Dataset, dataset).report = {"warnings": [warning]}
    answer = visitor.post("/jobs/check", data=form(visitor, dataset)).json()
    assert answer["warnings"] == ["test:biased: No image is in the group 'cow · sea'."]


def test_at_the_limit_the_form_says_so_and_how_to_go_on(
    visitor: TestClient, seeds: Seeds, sessions: sessionmaker[Session]
) -> None:
    with transaction(sessions) as session:
        session.execute(update(Tenant).where(Tenant.id == seeds.tenant_id).values(quota_jobs=1))
    sent = form(visitor, seeds.dataset())
    first = visitor.post("/jobs", data=sent, follow_redirects=False)
    assert first.status_code == 303
    # The same form once more, as by a double click, is the same job and no second one.
    again = visitor.post("/jobs", data=sent, follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, first.headers["location"])
    refused = visitor.post("/jobs", data=form(visitor, sent["dataset"], seed="8"), follow_redirects=False)
    assert refused.status_code == 429
    assert refused.headers["content-type"].startswith("text/html")
    notice = re.findall(r'<div class="notice bad" role="alert" data-form-problem>(.*?)</div>', refused.text, re.DOTALL)
    assert "has 1 unfinished jobs of the 1 it may have" in notice[0]
    assert "wait until one has ended, or cancel one" in notice[0]
    assert '<p data-at-limit><a href="/jobs">' in notice[0]
    assert 'name="config.seed" value="8"' in refused.text
    checked = visitor.post("/jobs/check", data=form(visitor, sent["dataset"])).json()["problems"]
    assert [(each["place"], each["at_limit"]) for each in checked] == [("", True)]
    assert len(visitor.get("/v1/jobs").json()["data"]) == 1
    # With a fault of the form itself beside it, both are told.
    both = visitor.post("/jobs", data=form(visitor, sent["dataset"], erm__epochs="none"))
    assert both.status_code == 422


def test_a_read_key_may_look_and_not_submit(browser: TestClient, read_visitor: TestClient, seeds: Seeds) -> None:
    sent = form(read_visitor, seeds.dataset())
    assert read_visitor.get("/jobs").status_code == 200
    for page in ("/jobs", "/datasets", "/checkpoints"):
        assert '<button class="primary"' not in read_visitor.get(page).text
    assert "New job" not in read_visitor.get(f"/datasets/{sent['dataset']}").text
    # Nor is anything offered that would be refused; the page says why.
    for page in ("/jobs", "/jobs/new", f"/jobs/new?dataset={sent['dataset']}"):
        told = main(read_visitor.get(page).text)
        assert "one of scope <code>write</code>" in told
        assert 'href="/jobs/new"' not in told
        assert "<form" not in told
    assert 'href="/jobs/new"' not in main(read_visitor.get("/compare").text)
    refused = read_visitor.post("/jobs", data=sent)
    assert refused.status_code == 403
    assert "scope" in refused.text


def test_a_preset_fills_in_the_fields(visitor: TestClient) -> None:
    fields = visitor.get("/jobs/new/config?preset=waterbirds", headers={"HX-Request": "true"}).text
    assert 'name="config.model.architecture" value="resnet50"' in fields
    assert 'name="config.erm.optimizer.lr" value="0.0001"' in fields


def test_a_clone_has_everything_of_its_job(visitor: TestClient, seeds: Seeds) -> None:
    dataset = seeds.dataset()
    sent = form(visitor, dataset, erm__epochs="3", selective__risks="0.01, 0.05")
    first = visitor.post("/jobs", data=sent, follow_redirects=False).headers["location"].removeprefix("/jobs/")
    page = visitor.get(f"/jobs/new?clone={first}").text
    shown = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]*? value="([^"]*)"', page))
    shown |= {
        name: re.findall(r'<option value="([^"]*)" selected', options)[0]
        for name, options in re.findall(r'<select id="[^"]*" name="([^"]+)".*?>(.*?)</select>', page, re.DOTALL)
        if " selected" in options
    }
    answer = visitor.post("/jobs", data=shown | {"csrf_token": csrf_of(visitor)}, follow_redirects=False)
    second = uuid.UUID(answer.headers["location"].removeprefix("/jobs/"))
    assert seeds.look(second).config == seeds.look(uuid.UUID(first)).config
    assert (seeds.look(second).name, seeds.look(second).dataset_id) == ("by hand", dataset)


def test_without_a_data_set_the_form_leads_to_the_upload(visitor: TestClient, seeds: Seeds) -> None:
    seeds.dataset(ready=False)
    page = visitor.get("/jobs/new").text
    assert "A job needs a data set" in page
    assert "<form method" not in page.split("<main")[1]


def test_a_job_shows_what_it_found(visitor: TestClient, seeds: Seeds) -> None:
    job_id = job_with_result(seeds)
    page = unescape(visitor.get(f"/jobs/{job_id}").text)
    assert "Worst group from 41 % to 97 %, average −0.4 points" in page
    assert "No images here, so no accuracy: 0-4 · square=yes" in page
    assert f'curl -OJ -H "Authorization: Bearer $MASKTUNE_API_KEY" http://testserver/v1/jobs/{job_id}' in page
    assert "data-thresholds" in page


def test_a_job_of_several_rounds_shows_each(visitor: TestClient, seeds: Seeds) -> None:
    job_id = job_with_result(seeds, earlier_rounds=[result(worst_after=0.8)["masktune"]])
    for page in (visitor.get(f"/jobs/{job_id}").text, visitor.get(f"/jobs/{job_id}/report").text):
        part = page.split('id="rounds-title"')[1].split("</section>")[0]
        assert re.findall(r'<th scope="row">([^<]+)<', part) == ["ERM", "After round 1", "After round 2"]
    assert "rounds-title" not in visitor.get(f"/jobs/{job_with_result(seeds)}").text


def test_a_job_says_what_it_started_from(visitor: TestClient, seeds: Seeds) -> None:
    for checkpoint, start, weights in (
        (None, "trained from scratch", "weights before, as trained by ERM"),
        (seeds.stored_checkpoint(b"weights"), "checkpoint weights (", "weights before, those of the checkpoint"),
    ):
        job_id = seeds.job(seeds.pictured_dataset(), checkpoint_id=checkpoint)
        token = seeds.claim(job_id)
        seeds.artifact(job_id, token, "erm.safetensors", b"weights")
        seeds.finish(job_id, token)
        page = visitor.get(f"/jobs/{job_id}").text
        assert start in page.split('class="job-facts')[1].split("</p>", maxsplit=1)[0]
        assert weights in page
        assert start in visitor.get(f"/jobs/{job_id}/report").text


def test_configuration_and_manifest_can_be_downloaded_from_a_shell(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job(seeds.pictured_dataset())
    token = seeds.claim(job_id)
    seeds.artifact(job_id, token, "config.json", b"{}")
    address = f"/v1/jobs/{job_id}/manifest"
    assert visitor.get(address).status_code == 404
    manifest = {"seed": 3, "device_name": "Geforce ™"}
    seeds.manifest(job_id, token, manifest)
    seeds.finish(job_id, token)
    page = unescape(visitor.get(f"/jobs/{job_id}").text)
    curls = re.findall(r"curl -OJ -H \S+ \S+ \S+ http://testserver(\S+)</pre>", page)
    assert curls == [f"/v1/jobs/{job_id}/artifacts/config.json", address]
    answer = visitor.get(address)
    assert answer.json() == manifest
    assert answer.headers["content-disposition"] == 'attachment; filename="manifest.json"'
    assert answer.text in page


@pytest.mark.parametrize(("strategy", "called"), [("random_mask", "random masks"), ("none", "no masks")])
def test_a_control_is_not_called_masktune(visitor: TestClient, seeds: Seeds, strategy: str, called: str) -> None:
    sent = form(visitor, seeds.pictured_dataset(), masking__strategy=strategy)
    job_id = uuid.UUID(visitor.post("/jobs", data=sent, follow_redirects=False).headers["location"][6:])
    finish_with_result(seeds, job_id)
    for page in (visitor.get(f"/jobs/{job_id}").text, visitor.get(f"/jobs/{job_id}/report").text):
        assert f'<th class="num after">{called}</th>' in page
        assert f"{called} × ERM" in page
        # The service's own name stands in the title, at the top of a page and of a report.
        named = re.findall(r".*MaskTune.*", page)
        assert [line for line in named if not re.search("<title>|<span>MaskTune</span>|MaskTune report", line)] == []


def test_a_job_without_a_result_file_says_so(visitor: TestClient, seeds: Seeds) -> None:
    assert "The result file is not there" in visitor.get(f"/jobs/{seeds.finished_job()}").text


def test_a_job_outlives_its_data_set(visitor: TestClient, seeds: Seeds) -> None:
    job_id = job_with_result(seeds)
    seeds.delete_dataset(seeds.look(job_id).dataset_id or uuid.uuid4())
    assert "data set deleted" in visitor.get(f"/jobs/{job_id}").text
    assert '<ul class="examples"' not in visitor.get(f"/jobs/{job_id}").text


def test_a_running_job_can_be_cancelled_from_its_page(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    seeds.claim(job_id)
    assert f'action="/jobs/{job_id}/cancel"' in visitor.get(f"/jobs/{job_id}").text
    token = {"csrf_token": csrf_of(visitor)}
    assert visitor.post(f"/jobs/{job_id}/cancel", follow_redirects=False).status_code == 403
    answer = visitor.post(f"/jobs/{job_id}/cancel", data=token, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    assert seeds.look(job_id).status == "cancelling"


def test_a_queued_job_is_paused_resumed_cancelled_and_deleted(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    token = {"csrf_token": csrf_of(visitor)}
    for action, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        visitor.post(f"/jobs/{job_id}/{action}", data=token)
        assert seeds.look(job_id).status == status
    assert visitor.post(f"/jobs/{job_id}/delete", data=token).url.path == "/jobs"
    assert visitor.get(f"/jobs/{job_id}").status_code == 404


def test_the_live_part_tells_the_last_event_and_the_status(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    seeds.claim(job_id)
    part = visitor.get(f"/jobs/{job_id}/live", headers={"HX-Request": "true"}).text
    seq, status = re.findall(r'data-seq="(\d+)" data-now="(\w+)"', part)[0]
    assert (int(seq), status) == (seeds.look(job_id).event_seq, "running")
    assert "<html" not in part


def test_a_foreign_job_is_not_there(visitor: TestClient, seeds: Seeds, make_link) -> None:  # type: ignore[no-untyped-def]
    job_id = job_with_result(seeds)
    visitor.cookies.clear()
    visitor.get(make_link("other"), follow_redirects=False)
    token = {"csrf_token": csrf_of(visitor)}
    for page in ("", "/live", "/report"):
        assert visitor.get(f"/jobs/{job_id}{page}").status_code == 404
    for action in ("cancel", "pause", "resume", "delete"):
        assert visitor.post(f"/jobs/{job_id}/{action}", data=token).status_code == 404
    assert visitor.get(f"/jobs/new?clone={job_id}").status_code == 404
    assert visitor.get(f"/compare?job={job_id}&job={job_id}").status_code == 404


def test_names_cannot_break_out_of_a_page(visitor: TestClient, seeds: Seeds) -> None:
    found = result()
    hostile = '</script><img src=x onerror=alert(1)>"'
    for model in ("erm", "masktune"):
        found[model]["test:biased"]["groups"][0]["name"] = hostile
        found[model][hostile] = found[model].pop("test")
    for score in found["selective"].values():
        score["splits"][hostile] = score["splits"].pop("test")
    job_id = job_with_result(seeds, found)
    for page in (visitor.get(f"/jobs/{job_id}").text, visitor.get(f"/jobs/{job_id}/report").text):
        assert "<img src=x" not in page
        assert "</script><img" not in page
