"""Artifacts and checkpoints can be downloaded whole, in parts, and only when they changed."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.errors import ApiError
from api.ranges import requested_range
from persistence.store import ObjectStore
from tests.api.seeds import Seeds
from tests.api.test_errors import problem

CONTENT = os.urandom(2_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA256}"'


@pytest.fixture
def path(seeds: Seeds) -> str:
    """Address of an artifact."""
    job_id = seeds.job()
    seeds.artifact(job_id, seeds.claim(job_id), "masktune.safetensors", CONTENT)
    return f"/v1/jobs/{job_id}/artifacts/masktune.safetensors"


def get(client: TestClient, path: str, **headers: str) -> Any:
    return client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_artifacts_are_listed_with_their_hash(client: TestClient, path: str) -> None:
    listed = client.get(path.rsplit("/", 1)[0]).json()["data"]
    assert [(found["name"], found["size"], found["sha256"], found["url"]) for found in listed] == [
        ("masktune.safetensors", len(CONTENT), SHA256, path)
    ]


def test_the_whole_file(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.content == CONTENT
    assert response.headers["content-length"] == str(len(CONTENT))
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["etag"] == ETAG
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''masktune.safetensors"
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"


PARTS = {
    "bytes=0-0": (0, 1),
    "bytes=100-199": (100, 200),
    "bytes=2400000-": (2_400_000, 2_500_000),
    "bytes=-5": (2_499_995, 2_500_000),
    "bytes=2499999-9999999": (2_499_999, 2_500_000),
    "bytes=-99999999": (0, 2_500_000),
}


def test_a_part(client: TestClient, path: str) -> None:
    for asked, (start, stop) in PARTS.items():
        response = get(client, path, range=asked)
        assert response.status_code == 206, asked
        assert response.content == CONTENT[start:stop]
        assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
        assert response.headers["content-length"] == str(stop - start)


def test_a_part_behind_the_end(client: TestClient, path: str) -> None:
    for asked in ("bytes=2500000-", "bytes=9999999-9999999", "bytes=-0"):
        response = get(client, path, range=asked)
        assert problem(response, 416, "range_not_satisfiable")["size"] == len(CONTENT)
        assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_what_is_not_one_range_gets_the_whole(client: TestClient, path: str) -> None:
    for asked in ("bytes=0-1,5-6", "bytes=5-2", "lines=1-2", "bytes=-", "bytes=x-", "nonsense"):
        assert get(client, path, range=asked).status_code == 200, asked


def test_an_interrupted_download_goes_on_only_with_the_same_file(client: TestClient, path: str) -> None:
    assert get(client, path, range="bytes=10-", if_range=ETAG).status_code == 206
    for other in ('"other"', f"W/{ETAG}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert get(client, path, range="bytes=10-", if_range=other).status_code == 200


def test_an_unchanged_file_is_not_sent_again(client: TestClient, path: str) -> None:
    for tags in (ETAG, f"W/{ETAG}", f'"a", {ETAG}', "*"):
        response = get(client, path, if_none_match=tags, range="bytes=0-1")
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", ETAG)
    assert get(client, path, if_none_match='"other"').status_code == 200


def test_head_has_the_headers_without_the_file(client: TestClient, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(CONTENT))
    assert response.headers["etag"] == ETAG


def test_an_artifact_that_is_not_there(client: TestClient, path: str) -> None:
    for name in ("model.pt", "%00", "x" * 200):
        problem(client.get(path.replace("masktune.safetensors", name)), 404, "artifact_not_found")


def test_bytes_that_the_store_lost(client: TestClient, path: str, store: ObjectStore) -> None:
    store.delete(SHA256)
    problem(client.get(path), 500, "object_missing")


def test_a_checkpoint_is_downloaded_once_it_is_ready(client: TestClient, seeds: Seeds) -> None:
    address = f"/v1/checkpoints/{seeds.stored_checkpoint(b'0123456789')}/content"
    assert client.get(address).content == b"0123456789"
    assert get(client, address, range="bytes=2-4").content == b"234"
    assert client.head(address).headers["content-length"] == "10"
    problem(client.get(f"/v1/checkpoints/{seeds.checkpoint(ready=False)}/content"), 409, "checkpoint_not_ready")
    problem(client.get(f"/v1/checkpoints/{uuid.uuid4()}/content"), 404, "checkpoint_not_found")


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}", fullmatch=True), st.integers(0, 500))
def test_a_range_lies_within_the_file(header: str, size: int) -> None:
    try:
        found = requested_range(header, size)
    except ApiError:
        return
    if found is not None:
        start, stop = found
        assert 0 <= start < stop <= size
