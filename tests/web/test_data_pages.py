"""Pages about data sets and checkpoints."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.web.datasets.pages import MOST_ROWS
from api.web.datasets.view import counts
from persistence.database import transaction
from persistence.tables import Dataset
from tests.api.seeds import Seeds
from tests.web.conftest import csrf_of
from tests.web.test_links import invalid_checkpoint


def test_the_lists_offer_an_upload_and_name_what_is_there(visitor: TestClient, seeds: Seeds) -> None:
    assert 'data-upload="/v1/datasets"' in visitor.get("/datasets").text
    assert 'data-upload="/v1/checkpoints"' in visitor.get("/checkpoints").text
    dataset_id, checkpoint_id = seeds.dataset(), seeds.checkpoint()
    assert f"/datasets/{dataset_id}" in visitor.get("/datasets").text
    assert f"/checkpoints/{checkpoint_id}" in visitor.get("/checkpoints").text


def test_a_list_with_nothing_in_it_says_what_it_is_for(visitor: TestClient, seeds: Seeds) -> None:
    told = {"datasets": "No data sets yet", "checkpoints": "No checkpoints yet"}
    for noun, title in told.items():
        assert f"<h2>{title}</h2>" in visitor.get(f"/{noun}").text
    seeds.dataset()
    seeds.checkpoint()
    for noun, title in told.items():
        assert title not in visitor.get(f"/{noun}").text


@pytest.mark.parametrize("earlier", [False, True], ids=["", "a report that lists them all"])
def test_the_first_keys_that_do_not_fit_are_there_with_the_number_of_all(
    visitor: TestClient, seeds: Seeds, earlier: bool
) -> None:
    missing, unexpected = ([f"{noun}.{number}.weight" for number in range(250)] for noun in ("layer", "block"))
    counted: dict[str, Any] = {"missing": missing[:100], "counts": {"missing": 250, "unexpected": 3, "misshapen": 0}}
    report: dict[str, Any] = {
        "missing": missing,
        "unexpected": unexpected[:3],
        "misshapen": [],
        **({} if earlier else counted),
    }
    made = invalid_checkpoint(seeds, report)
    page = visitor.get(f"/checkpoints/{made}").text
    assert re.findall(r"<li><code>([^<]+)</code>", page) == missing[:100] + unexpected[:3]
    assert re.findall(r">and ([^<]+)</p>", page) == ["150 more keys"]
    assert visitor.get(f"/v1/checkpoints/{made}").json()["report"] == {**report, "counts": counted["counts"]}


def test_a_row_asks_again_only_while_the_check_lasts(visitor: TestClient, seeds: Seeds) -> None:
    waiting, ready = seeds.dataset(ready=False), seeds.dataset()
    assert f'hx-get="/datasets/{waiting}/row"' in visitor.get(f"/datasets/{waiting}/row").text
    assert "hx-get" not in visitor.get(f"/datasets/{ready}/row").text
    waiting, ready = seeds.checkpoint(ready=False), seeds.checkpoint()
    assert f'hx-get="/checkpoints/{waiting}/row"' in visitor.get(f"/checkpoints/{waiting}/row").text
    assert "hx-get" not in visitor.get(f"/checkpoints/{ready}/row").text


def test_a_page_loads_again_when_the_check_is_over(visitor: TestClient, seeds: Seeds) -> None:
    for noun, waiting, ready in (
        ("datasets", seeds.dataset(ready=False), seeds.dataset()),
        ("checkpoints", seeds.checkpoint(ready=False), seeds.checkpoint()),
    ):
        assert 'hx-trigger="every 1s"' in visitor.get(f"/{noun}/{waiting}").text
        assert "hx-refresh" not in visitor.get(f"/{noun}/{waiting}/state").headers
        assert visitor.get(f"/{noun}/{ready}/state").headers["hx-refresh"] == "true"


def test_a_ready_data_set_shows_its_images(visitor: TestClient, seeds: Seeds) -> None:
    dataset_id = seeds.pictured_dataset()
    page = visitor.get(f"/datasets/{dataset_id}").text
    pictures = re.findall(rf'src="(/v1/datasets/{dataset_id}/images/\d+\?max_side=256)"', page)
    assert len(pictures) == 6
    assert visitor.get(pictures[0]).headers["content-type"] == "image/png"
    one_class = visitor.get(f"/datasets/{dataset_id}/tiles?split=train&label=1").text
    assert len(re.findall("<img", one_class)) == 3
    assert all(f'href="#{part}-title"' in page and f'id="{part}-title"' in page for part in ("jobs", "tiles", "facts"))
    assert "No image fits" in visitor.get(f"/datasets/{dataset_id}/tiles?split=nosuch").text


def test_what_more_images_there_are_is_told(visitor: TestClient, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.web.datasets.pages._TILES", 1)
    dataset_id = seeds.pictured_dataset()
    with transaction(seeds.sessions) as session:
        counted = {"count": 1234, "classes": {"0-4": 1000, "5-9": 234}}
        session.get_one(Dataset, dataset_id).summary = {"splits": {"train": counted, "test": {"count": 6}}}
    for query, told in (("", "1,240"), ("split=train", "1,234"), ("split=train&label=1", "234")):
        answer = visitor.get(f"/datasets/{dataset_id}/tiles?{query}", headers={"HX-Request": "true"})
        assert f"{told} in all" in answer.text


def test_a_number_and_what_it_is_about_are_two_words(visitor: TestClient, seeds: Seeds) -> None:
    dataset_id = seeds.pictured_dataset()
    found = {"images": 1, "complete": True, "between": [{"splits": ["train", "val"], "count": 1}], "examples": []}
    with transaction(seeds.sessions) as session:
        report = {"warnings": [], "duplicates": {"exact": found, "similar": found}, "attributes": []}
        session.get_one(Dataset, dataset_id).report = report
    text = re.sub("<[^>]+>", "", visitor.get(f"/datasets/{dataset_id}").text)
    assert "Looking alike: 1 train and val: 1\n" in text


def test_the_seed_of_splits_that_were_drawn_is_shown(visitor: TestClient, seeds: Seeds) -> None:
    dataset_id = seeds.pictured_dataset()
    assert "Split seed" not in visitor.get(f"/datasets/{dataset_id}").text
    with transaction(seeds.sessions) as session:
        dataset = session.get_one(Dataset, dataset_id)
        dataset.layout, dataset.options = "class_folders", {"seed": 77}
    assert "<dt>Split seed</dt><dd>77</dd>" in visitor.get(f"/datasets/{dataset_id}").text


def test_an_invalid_data_set_names_its_problems(visitor: TestClient, seeds: Seeds) -> None:
    page = visitor.get(f"/datasets/{seeds.invalid_dataset()}").text
    assert "cannot be used" in page
    assert "it ends early" in page
    assert "New job" not in page


def test_deleting_leads_back_to_the_list(visitor: TestClient, seeds: Seeds) -> None:
    token = {"csrf_token": csrf_of(visitor)}
    dataset_id, checkpoint_id = seeds.dataset(), seeds.checkpoint()
    assert visitor.post(f"/datasets/{dataset_id}/delete", data=token).url.path == "/datasets"
    assert visitor.get(f"/datasets/{dataset_id}").status_code == 404
    assert visitor.post(f"/checkpoints/{checkpoint_id}/delete", data=token).url.path == "/checkpoints"
    assert visitor.get(f"/checkpoints/{checkpoint_id}").status_code == 404


def test_what_is_in_use_stays_and_the_page_says_why(visitor: TestClient, seeds: Seeds) -> None:
    dataset_id = seeds.dataset()
    seeds.job(dataset_id)
    answer = visitor.post(f"/datasets/{dataset_id}/delete", data={"csrf_token": csrf_of(visitor)})
    assert answer.status_code == 409
    assert "unfinished jobs use data set" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_what_is_not_ones_own_is_not_there(visitor: TestClient, seeds: Seeds, make_link: Callable[[str], str]) -> None:
    dataset_id, checkpoint_id = seeds.pictured_dataset(), seeds.checkpoint()
    visitor.cookies.clear()
    visitor.get(make_link("other"), follow_redirects=False)
    token = {"csrf_token": csrf_of(visitor)}
    for page in ("", "/row", "/state"):
        assert visitor.get(f"/datasets/{dataset_id}{page}").status_code == 404
        assert visitor.get(f"/checkpoints/{checkpoint_id}{page}").status_code == 404
    assert visitor.get(f"/datasets/{dataset_id}/tiles").status_code == 404
    assert visitor.post(f"/datasets/{dataset_id}/delete", data=token).status_code == 404
    assert visitor.get(f"/datasets/{uuid.uuid4()}").status_code == 404
    assert visitor.get("/datasets/nonsense").status_code == 404


def test_groups_that_go_against_their_class_are_marked() -> None:
    groups = {"0-4 · square=yes": 95, "0-4 · square=no": 5, "5-9 · square=yes": 0, "5-9 · square=no": 50}
    summary = {
        "splits": {"test:b": {"count": 10, "classes": {}, "groups": {}}, "train": {"count": 150, "groups": groups}}
    }
    table = counts(Dataset(classes=["0-4", "5-9"], summary=summary), "groups")
    assert table is not None
    assert table.splits == ["train", "test:b"]
    marked = {row.name for row in table.rows for cell in row.cells if cell.small}
    assert marked == {"0-4 · square=no"}
    assert counts(Dataset(classes=[], summary={"splits": {"train": {"count": 1}}}), "groups") is None


def test_a_class_is_told_from_an_attribute_whose_value_looks_like_more_of_it() -> None:
    groups = {"cat · place=land · dry": 97, "cat · place=sea": 3, "cat · big · place=land · dry": 50}
    summary = {"splits": {"train": {"count": 150, "groups": groups}}}
    table = counts(Dataset(classes=["cat", "cat · big"], summary=summary), "groups")
    assert table is not None
    assert [(row.cells[0].total, row.cells[0].small) for row in table.rows] == [(100, False), (100, True), (50, False)]


def test_of_many_groups_the_marked_ones_are_shown_first_and_all_are_a_click_away(
    visitor: TestClient, seeds: Seeds
) -> None:
    dataset_id = seeds.pictured_dataset()
    classes = [f"c{number}" for number in range(300)]
    groups = {f"{name} · square={value}": 50 for name in classes for value in ("no", "yes")}
    groups["c299 · square=yes"] = 1
    with transaction(seeds.sessions) as session:
        dataset = session.get_one(Dataset, dataset_id)
        dataset.classes = classes
        dataset.attributes = [{"name": "square", "values": ["no", "yes", *(f"value {number}" for number in range(98))]}]
        counted = {"count": 29951, "classes": dict.fromkeys(classes, 100), "groups": groups}
        dataset.summary = {"splits": {"train": counted}}
    page = visitor.get(f"/datasets/{dataset_id}").text
    rows = re.findall(r'<tr><th scope="row">(c\d+[^<]*)</th>', page)
    assert (len(rows), rows[0]) == (2 * MOST_ROWS, "c299 · square=yes")
    assert f"{MOST_ROWS} of 600 are shown, the marked ones first" in page
    assert "and 50 more" in page
    assert len(page) < 200_000
    everything = visitor.get(re.findall(r'href="([^"#]+rows=all)#groups-title"', page)[0]).text
    assert re.findall(r'<tr><th scope="row">(c\d+[^<]*)</th>', everything) == [*groups, *classes]
    assert "are shown" not in everything


def test_a_list_goes_on(visitor: TestClient, seeds: Seeds, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("api.web.datasets.listing._PAGE", 1)
    monkeypatch.setattr("api.web.checkpoints.pages._PAGE", 1)
    for noun, make in (("datasets", seeds.dataset), ("checkpoints", seeds.checkpoint)):
        made = {str(make()) for _ in range(2)}
        first = visitor.get(f"/{noun}").text
        more = unescape(re.findall(rf'hx-get="(/{noun}\?[^"]+)"', first)[0])
        rows = visitor.get(more, headers={"HX-Request": "true"}).text
        assert set(re.findall(rf'href="/{noun}/([0-9a-f-]{{36}})"', first + rows)) == made
        assert visitor.get(f"/{noun}?after=nonsense").status_code == 422


def test_the_fields_of_an_upload_are_checked_as_they_will_be(
    visitor: TestClient,
) -> None:
    token = {"X-CSRF-Token": csrf_of(visitor)}

    def problems(noun: str, **fields: str) -> dict[str, str]:
        answer = visitor.post(f"/{noun}/check", data=fields, headers=token).json()
        return {each["place"]: each["detail"] for each in answer["problems"]}

    assert problems("datasets", name="digits") == {}
    assert set(problems("datasets", name="")) == {"name"}
    fine = {"name": "weights", "architecture": "resnet18", "num_classes": "2"}
    assert problems("checkpoints", **fine) == {}
    found = problems("checkpoints", **(fine | {"architecture": "resnet81", "num_classes": "1"}))
    assert set(found) == {"architecture", "num_classes"}
    assert "resnet18" in found["architecture"]
    assert visitor.post("/datasets/check", data={"name": "digits"}).status_code == 403
