"""Two jobs side by side."""

from __future__ import annotations

import hashlib
import re
import uuid
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from persistence.database import transaction
from persistence.tables import Job, Sample
from tests.api.seeds import Seeds
from tests.web.forms import form
from tests.web.results import GROUPS, finish_with_result, job_with_result, result, selective


def test_two_jobs_side_by_side(visitor: TestClient, seeds: Seeds) -> None:
    first = job_with_result(seeds)
    second = visitor.post(
        "/jobs", data=form(visitor, seeds.look(first).dataset_id or "", seed="1"), follow_redirects=False
    ).headers["location"][6:]
    finish_with_result(seeds, uuid.UUID(second), result(worst_after=0.6))
    page = unescape(visitor.get(f"/compare?job={first}&job={second}").text)
    assert re.findall(r"<code>([\w.]+)</code></th><td>(\S+)</td><td>(\S+)</td>", page)[0] == (
        "preset",
        "default",
        "biased_mnist",
    )
    assert "−37.0" in page
    answer = visitor.get(f"/compare/samples?first={first}&second={second}")
    assert "both give every image the same class" in answer.text


def test_comparing_needs_two(visitor: TestClient, seeds: Seeds) -> None:
    assert "Two finished jobs are needed" in visitor.get("/compare").text
    jobs = [job_with_result(seeds) for _ in range(2)]
    assert "1 job was chosen" in visitor.get(f"/compare?job={jobs[0]}").text


def row(page: str, name: str, split: str = "test:biased") -> list[str]:
    """What stands in a row of a split's table, cell by cell, lines of a cell joined by a slash."""
    table = page.split(f'aria-label="Table of {split}"')[1].split("</table>", maxsplit=1)[0]
    [found] = [each for each in re.findall(r"<tr.*?</tr>", table, re.DOTALL) if f'row">{name}<' in each]
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", found, re.DOTALL)
    return ["/".join(part.strip() for part in re.split(r"<[^>]+>", cell) if part.strip()) for cell in cells]


def pair(seeds: Seeds, first: dict[str, Any], second: dict[str, Any], *, side: int = 12) -> str:
    """The address of the comparison of two jobs on the same images."""
    dataset = seeds.pictured_dataset(side)
    made = []
    for found in (first, second):
        made.append(seeds.job(dataset))
        finish_with_result(seeds, made[-1], found, side=side)
    with transaction(seeds.sessions) as session:
        session.execute(update(Job).where(Job.id.in_(made)).values(manifest={"dataset_sha256": "0" * 64}))
    return f"/compare?job={made[0]}&job={made[1]}"


def test_every_figure_of_a_result_is_compared(visitor: TestClient, seeds: Seeds) -> None:
    first, second = result(), result()
    for found, ece, adjusted, gap, area in ((first, 0.05, 0.9, 0.2, 0.02), (second, 0.03, 0.95, 0.1, 0.0195)):
        found["masktune"]["test:biased"] |= {"ece": ece, "group_adjusted_accuracy": adjusted}
        found["erm"]["test:biased"]["group_adjusted_accuracy"] = 0.8
        found["selective"]["masktune"]["splits"]["test:biased"] = {"aurc": area} | {
            name: value for name, value in selective()["masktune"]["splits"]["test"].items() if name != "aurc"
        }
        for model in ("erm", "masktune"):
            for split_name in ("test:mixed_rand", "test:mixed_same"):
                found[model][split_name] = found[model]["test"]
        for each in found["selective"].values():
            each["splits"] |= dict.fromkeys(("test:mixed_rand", "test:mixed_same"), each["splits"]["test"])
        found["bg_gap"] = [0.3, gap]
    page = unescape(visitor.get(pair(seeds, first, second)).text)
    assert row(page, "Calibration error (ECE)")[2:] == ["5.0 %", "5.0 %", "5.0 %", "3.0 %", "−2.0"]
    assert row(page, "Group-adjusted average")[2:] == ["80.0 %", "90.0 %", "80.0 %", "95.0 %", "+5.0"]
    assert row(page, "BG-gap", "test:mixed_rand")[2:] == ["30.0 %", "20.0 %", "30.0 %", "10.0 %", "−10.0"]
    assert row(page, "Area under risk–coverage (AURC)") == [
        "Area under risk–coverage (AURC)/less is better",
        "",
        *("0.0200", "0.0200", "0.0200", "0.0195", "−0.0005"),
    ]
    assert row(page, "AURC of both models together")[2:] == ["–", "0.0200", "–", "0.0200", "±0.0000"]


def test_what_each_started_from_is_a_difference(visitor: TestClient, seeds: Seeds) -> None:
    def told() -> list[tuple[str, ...]]:
        page = unescape(visitor.get(f"/compare?job={jobs[0]}&job={jobs[1]}").text)
        return re.findall(r'<th scope="row">(Data set|Started from)</th><td>([^<]+)</td><td>([^<]+)</td>', page)

    checkpoint, dataset = seeds.stored_checkpoint(b"weights"), seeds.pictured_dataset()
    jobs = [seeds.job(dataset), seeds.job(dataset, checkpoint_id=checkpoint)]
    for job_id in jobs:
        finish_with_result(seeds, job_id)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert told() == [("Started from", "trained from scratch", f"checkpoint weights ({sha256[:8]})")]
    seeds.delete_checkpoint(checkpoint)
    with transaction(seeds.sessions) as session:
        session.execute(update(Job).where(Job.id == jobs[1]).values(manifest={"initial_state_sha256": 64 * "a"}))
    assert told()[0][2] == "a checkpoint that was deleted (weights aaaaaaaa)"
    # Two data sets of one name are not the same.
    jobs[0] = job_with_result(seeds)
    with transaction(seeds.sessions) as session:
        for job_id, digit in zip(jobs, "bc", strict=True):
            session.execute(update(Job).where(Job.id == job_id).values(manifest={"dataset_sha256": 64 * digit}))
    assert told()[0] == ("Data set", "pictures (bbbbbbbb)", "pictures (cccccccc)")


def test_a_figure_that_one_job_lacks_is_a_dash(visitor: TestClient, seeds: Seeds) -> None:
    page = unescape(visitor.get(pair(seeds, result(), result() | {"selective": {}})).text)
    assert row(page, "Area under risk–coverage (AURC)")[2:] == ["0.0200", "0.0200", "–", "–", "–"]


def test_the_worst_group_of_each_is_named(visitor: TestClient, seeds: Seeds) -> None:
    second = result()
    groups = second["masktune"]["test:biased"]["groups"]
    groups[0] |= {"accuracy": 0.5, "low": 0.45, "high": 0.55}
    page = unescape(visitor.get(pair(seeds, result(), second)).text)
    *values, change = row(page, "worst group")
    assert [value.split("/")[-1] for value in values[2:]] == [GROUPS[3], GROUPS[3], GROUPS[3], GROUPS[0]]
    assert change == "−47.0/of two different ones"
    same = unescape(visitor.get(pair(seeds, result(), result(worst_after=0.6))).text)
    assert row(same, "worst group")[-1] == "−37.0"


@pytest.mark.parametrize(("side", "enlarged"), [(12, True), (120, False)])
def test_images_lead_to_their_detail(visitor: TestClient, seeds: Seeds, side: int, enlarged: bool) -> None:
    address = pair(seeds, result(), result(), side=side)
    first, second = re.findall("job=([^&]+)", address)
    with transaction(seeds.sessions) as session:
        seen = select(Sample).where(Sample.job_id == uuid.UUID(second), Sample.index == 4)
        sample = session.scalars(seen).one()
        sample.predicted_after = 1 - sample.predicted_after
    assert "Colour scale from dark blue" in visitor.get(address).text
    part = unescape(visitor.get(f"/compare/samples?first={first}&second={second}").text)
    assert re.findall('<a href="([^"]+)"><img', part) == [
        f"/jobs/{first}/samples?view=original&image=4",
        f"/jobs/{first}/samples?view=after&image=4",
        f"/jobs/{second}/samples?view=after&image=4",
    ]
    assert part.count('class="pixels"') == (3 if enlarged else 0)
    for source in re.findall('src="([^"]+)"', part):
        assert visitor.get(source).status_code == 200


def test_without_the_images_the_answers_are_compared(visitor: TestClient, seeds: Seeds) -> None:
    address = pair(seeds, result(), result())
    first, second = re.findall("job=([^&]+)", address)
    with transaction(seeds.sessions) as session:
        session.execute(update(Sample).where(Sample.job_id == uuid.UUID(second)).values(predicted_after=7))
    seeds.delete_dataset(seeds.look(uuid.UUID(first)).dataset_id or uuid.uuid4())
    part = visitor.get(f"/compare/samples?first={first}&second={second}").text
    assert "The data set was deleted, and its images with it" in part
    assert "<img" not in part
    assert f'<a href="/jobs/{first}/samples?image=0">image 0</a>' in part
