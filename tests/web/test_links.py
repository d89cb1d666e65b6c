"""Every link of every page leads somewhere."""

from __future__ import annotations

import re
import uuid
from collections import deque
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest
from starlette.testclient import TestClient

from persistence import checkpoints
from persistence.database import transaction
from tests.api.seeds import Seeds
from tests.web.results import finish_with_result, job_with_result

_LINK = re.compile(r'\s(?:href|src|hx-get)="([^"]+)"')
_FORM = re.compile(r'<form[^>]*method="(\w+)"[^>]*action="([^"]+)"')
_NUMBER = re.compile(r"(?<=[/=])\d+")


@pytest.fixture
def everything(seeds: Seeds) -> None:
    """Something of each kind, in each state that has a page of its own."""
    first = job_with_result(seeds)
    dataset = seeds.look(first).dataset_id
    finish_with_result(seeds, seeds.job(dataset))
    orphan = job_with_result(seeds)
    seeds.delete_dataset(seeds.look(orphan).dataset_id or uuid.uuid4())
    seeds.job(dataset)
    seeds.claim(seeds.job(dataset))
    seeds.dataset(ready=False)
    seeds.invalid_dataset()
    seeds.checkpoint(ready=False)
    seeds.stored_checkpoint(b"weights")
    invalid_checkpoint(seeds, {"missing": ["fc.weight"], "unexpected": [], "misshapen": []})


def invalid_checkpoint(seeds: Seeds, report: dict[str, list[str]]) -> uuid.UUID:
    made = seeds.checkpoint(ready=False)
    with transaction(seeds.sessions) as session:
        claim = checkpoints.claim(session, made, "worker-1", 30.0)
        assert claim is not None
        error = {"code": "checkpoint_mismatch", "message": "its keys do not fit"}
        checkpoints.finish_invalid(session, made, claim.token, error, report)
    return made


def walked(visitor: TestClient, *starts: str) -> dict[str, str]:
    """Every page that is linked from these, and from there on, by its address; fails at the first dead link."""
    pages: dict[str, str] = {}
    seen: set[str] = set()
    waiting = deque((start, "") for start in starts)
    while waiting:
        address, linked_from = waiting.popleft()
        # Of pictures and choices that differ in a number alone, one is enough.
        kind = _NUMBER.sub("N", address)
        if kind in seen:
            continue
        seen.add(kind)
        answer = visitor.get(address)
        assert answer.status_code < 400, f"{linked_from} links to {address}: {answer.status_code}"
        if not answer.headers.get("content-type", "").startswith("text/html") or address.startswith("/docs"):
            continue
        page = unescape(answer.text)
        pages[address] = page
        for method, action in _FORM.findall(page):
            if method == "post" and action not in seen:
                seen.add(action)
                assert visitor.post(action).status_code == 403, f"{address} has a form that sends to {action}"
        for link in _LINK.findall(page):
            whole = urljoin(address, link)
            if not link.startswith(("data:", "#")) and not urlsplit(whole).netloc:
                waiting.append((whole.partition("#")[0], address))
    return pages


@pytest.mark.usefixtures("everything")
def test_every_link_leads_somewhere(visitor: TestClient) -> None:
    pages = walked(visitor, "/", "/compare")
    nouns = {urlsplit(address).path.rstrip("/").rpartition("/")[2] for address in pages}
    assert {"jobs", "datasets", "checkpoints", "new", "samples", "insight", "report", "compare"} <= nouns
    for address, page in pages.items():
        for link in _LINK.findall(page):
            target, _, place = link.partition("#")
            if place and not target.startswith("data:"):
                there = pages.get(urljoin(address, target), page)
                assert f'id="{place}"' in there, f"{address} links to {link}"


def test_with_nothing_there_the_way_to_begin_can_be_followed(visitor: TestClient) -> None:
    walked(visitor, "/")
    main = visitor.get("/jobs").text.split("<main")[1]
    [start] = re.findall(r'<a class="button" href="([^"]+)"', main)
    assert 'data-upload="/v1/datasets"' in visitor.get(start).text
