"""Many who watch one job cost as little as one."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.web.jobs.live_part import Key, LiveParts
from tests.api.seeds import Seeds


def key(seq: int = 1) -> Key:
    return uuid.UUID(int=1), seq, "running"


def test_what_many_ask_for_at_once_is_made_once() -> None:
    parts, made = LiveParts(), []

    def make() -> bytes:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return b"part"

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: parts.get(key(), make), range(20)))
    assert answers == [b"part"] * 20
    assert len(made) == 1


def test_a_new_event_and_the_passing_of_time_make_a_new_one() -> None:
    now = [0.0]
    parts = LiveParts(clock=lambda: now[0])
    assert parts.get(key(1), lambda: b"one") == b"one"
    assert parts.get(key(2), lambda: b"two") == b"two"
    assert parts.get(key(1), lambda: b"again") == b"one"
    now[0] = 5.0
    assert parts.get(key(1), lambda: b"later") == b"later"


def test_one_that_cannot_be_made_is_tried_again() -> None:
    parts = LiveParts()

    def fail() -> bytes:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        parts.get(key(), fail)
    assert parts.get(key(), lambda: b"part") == b"part"


def test_only_so_many_are_kept() -> None:
    parts = LiveParts()
    for seq in range(300):
        parts.get(key(seq), lambda: b"")
    assert len(parts._kept) <= 128


def test_a_page_sees_each_event_at_once(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    assert "stage" not in visitor.get(f"/jobs/{job_id}/live").text.split("data-log")[1]
    seeds.event(job_id, "job.stage", {"stage": "masking", "iteration": 1})
    assert "Masking, round 1" in visitor.get(f"/jobs/{job_id}/live").text


def test_the_log_tells_when_with_the_exact_time_on_hover(visitor: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    log = visitor.get(f"/jobs/{job_id}").text.split("data-log")[1]
    exact = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    assert re.search(
        rf'<time datetime="{exact}" title="\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC">just now</time> <span>Queued<', log
    )


def test_the_whole_log_is_there_however_long_it_is(
    visitor: TestClient, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.web.jobs.whole_log._PAGE", 4)
    monkeypatch.setattr("api.web.jobs.pages._LOG_LINES", 3)
    job_id = seeds.job()
    for number in range(1, 10):
        seeds.event(job_id, "job.warning", {"code": "odd", "message": f"warning\nof turn {number}"})
    page = visitor.get(f"/jobs/{job_id}").text
    assert "from event 8 on" in page
    assert "of turn 7" in page
    assert "of turn 6" not in page
    [address] = re.findall(r'<a class="small" id="log-whole" href="([^"]+)" download>All of it', page)
    answer = visitor.get(address)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="log-{job_id}.txt"'
    lines = answer.text.splitlines()
    assert [int(line[:6]) for line in lines] == list(range(1, 11))
    assert re.fullmatch(r" {5}1  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  Queued", lines[0])
    assert lines[-1].endswith("  warning of turn 9 (odd)")


def test_nobody_else_reads_the_log(visitor: TestClient, seeds: Seeds, make_link: Callable[[str], str]) -> None:
    job_id = seeds.job()
    visitor.cookies.clear()
    assert visitor.get(f"/jobs/{job_id}/log", follow_redirects=False).status_code == 303
    visitor.get(make_link("other"), follow_redirects=False)
    assert visitor.get(f"/jobs/{job_id}/log").status_code == 404


@pytest.mark.parametrize(
    ("manifest", "shown"),
    [
        (None, "CPU"),  # as the attempt's start told
        ({"device_type": "cpu", "device_name": "x86_64"}, "CPU (x86_64)"),
        ({"device_type": "cuda", "device_name": "NVIDIA H100"}, "NVIDIA H100"),
    ],
)
def test_the_device_is_named_for_people(
    visitor: TestClient, seeds: Seeds, manifest: dict[str, Any] | None, shown: str
) -> None:
    job_id = seeds.job()
    token = seeds.claim(job_id)
    if manifest is not None:
        seeds.manifest(job_id, token, manifest)
    assert f"<dt>Device</dt><dd>{shown}</dd>" in visitor.get(f"/jobs/{job_id}/live").text
