"""Two jobs side by side."""

from __future__ import annotations

import re
import uuid
from html import unescape

from starlette.testclient import TestClient

from tests.api.seeds import Seeds
from tests.web.forms import form
from tests.web.results import finish_with_result, job_with_result, result


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
