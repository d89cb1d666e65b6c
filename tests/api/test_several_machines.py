"""API machines that share a database and a bucket, but no folder for the bytes of unfinished uploads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from api.main import create_app
from persistence.settings import Settings
from tests.api.test_errors import problem
from tests.api.tus import CONTENT, SHA256, begin, offset, patch
from tests.persistence.store.conftest import s3_bucket, s3_endpoint

__all__ = ["s3_bucket", "s3_endpoint"]


@pytest.fixture
def machines(settings: Settings, key: str, s3_bucket: str) -> Iterator[tuple[TestClient, TestClient]]:
    with ExitStack() as stack:
        made = []
        for name in ("one", "two"):
            places = {"storage_url": f"s3://{s3_bucket}/prefix", "home": settings.home / name}
            app = create_app(settings.model_copy(update=places))
            made.append(stack.enter_context(TestClient(app, headers={"Authorization": f"Bearer {key}"})))
        yield made[0], made[1]


def test_an_upload_goes_on_only_where_its_bytes_are(machines: tuple[TestClient, TestClient]) -> None:
    one, two = machines
    path = begin(one, sha256=SHA256)
    assert patch(one, path, 0, CONTENT[:1000]).status_code == 204
    assert offset(two, path) == 1000
    refused = problem(patch(two, path, 1000, CONTENT[1000:]), 410, "upload_expired")
    assert "not on this machine" in refused["detail"]
    # Nothing was harmed: where the bytes are, the upload goes on.
    assert offset(one, path) == 1000
    assert patch(one, path, 1000, CONTENT[1000:]).status_code == 204
    assert two.get(path).json()["sha256"] == SHA256


def test_an_upload_begun_at_one_may_be_sent_to_another(machines: tuple[TestClient, TestClient]) -> None:
    one, two = machines
    path = begin(one, sha256=SHA256)
    assert patch(two, path, 0, CONTENT).status_code == 204
    assert one.get(path).json()["sha256"] == SHA256
