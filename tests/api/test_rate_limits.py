"""A key may make so many requests in a window, counted in Redis; without Redis nobody is kept out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr
from starlette.testclient import TestClient

from api import rate_limits
from api.main import create_app
from cli.embedded import EmbeddedRedis
from persistence.settings import Settings
from tests.api.seeds import Seeds
from tests.api.test_errors import problem

MOST = 3


@pytest.fixture
def limited(settings: Settings, make_key: Callable[..., str]) -> Iterator[TestClient]:
    with TestClient(create_app(settings.model_copy(update={"rate_limit_requests": MOST}))) as client:
        client.headers["Authorization"] = f"Bearer {make_key('acme')}"
        yield client


def test_beyond_the_limit_requests_are_refused_and_told_when_to_come_back(limited: TestClient) -> None:
    for left in (2, 1, 0):
        response = limited.get("/v1/jobs")
        assert response.status_code == 200
        assert response.headers["ratelimit-policy"] == '"key";q=3;w=60'
        assert re.fullmatch(rf'"key";r={left};t=\d+', response.headers["ratelimit"])
    refused = limited.get("/v1/jobs")
    body = problem(refused, 429, "rate_limited")
    assert (body["limit"], body["window_seconds"]) == (MOST, 60)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"key";r=0;t=')


def test_another_key_has_a_window_of_its_own(limited: TestClient, make_key: Callable[..., str]) -> None:
    while limited.get("/v1/jobs").status_code == 200:
        pass
    assert limited.get("/v1/jobs", headers={"Authorization": f"Bearer {make_key('acme')}"}).status_code == 200


def test_health_is_not_counted(limited: TestClient) -> None:
    for _ in range(MOST + 1):
        assert "ratelimit" not in limited.get("/healthz").headers


def test_a_limit_of_zero_is_none(settings: Settings, make_key: Callable[..., str]) -> None:
    with TestClient(create_app(settings.model_copy(update={"rate_limit_requests": 0}))) as client:
        response = client.get("/v1/jobs", headers={"Authorization": f"Bearer {make_key('acme')}"})
    assert response.status_code == 200
    assert "ratelimit" not in response.headers


def test_while_redis_is_away_everybody_is_let_through_and_the_log_says_so_once(
    settings: Settings,
    redis_server: EmbeddedRedis,
    make_key: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = structlog.testing.LogCapture()
    # A logger of its own: the module's has been set up for good if an earlier test used it.
    monkeypatch.setattr(rate_limits, "log", structlog.wrap_logger(None, processors=[lines]))
    # Asked at every request, so that the number of failures does not depend on how fast requests are.
    monkeypatch.setattr(rate_limits, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(rate_limits, "_REDIS_SECONDS", 20.0)
    socket = tmp_path / "redis.sock"
    away = {"redis_url": SecretStr(f"redis+socket://{socket}"), "rate_limit_requests": 5}
    with TestClient(create_app(settings.model_copy(update=away))) as client:
        client.headers["Authorization"] = f"Bearer {make_key('acme')}"
        for _ in range(5):
            assert client.get("/v1/jobs").status_code == 200
        assert [line["event"] for line in lines.entries] == ["rate_limits_off"]
        socket.symlink_to(redis_server.socket_path)
        assert client.get("/v1/jobs").headers["ratelimit"].startswith('"key";r=4;')
    assert [line["event"] for line in lines.entries] == ["rate_limits_off", "rate_limits_on"]


def test_after_a_failure_redis_is_left_alone_for_a_while(
    settings: Settings,
    redis_server: EmbeddedRedis,
    make_key: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limits, "_PAUSE_SECONDS", 3600.0)
    socket = tmp_path / "redis.sock"
    away = {"redis_url": SecretStr(f"redis+socket://{socket}")}
    with TestClient(create_app(settings.model_copy(update=away))) as client:
        client.headers["Authorization"] = f"Bearer {make_key('acme')}"
        assert client.get("/v1/jobs").status_code == 200
        socket.symlink_to(redis_server.socket_path)
        assert "ratelimit" not in client.get("/v1/jobs").headers


def test_pictures_are_counted_apart_so_that_scrolling_locks_nobody_out(
    settings: Settings, seeds: Seeds, key: str
) -> None:
    limits = {"rate_limit_requests": 2, "rate_limit_images": 5}
    dataset, job = seeds.pictured_dataset(), seeds.finished_job()
    pictures = [f"/v1/datasets/{dataset}/images/0", f"/v1/jobs/{job}/samples/0/image?view=mask"]
    with TestClient(create_app(settings.model_copy(update=limits))) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        for number in range(5):
            response = client.get(pictures[number % 2])
            assert response.status_code == 200
            assert response.headers["ratelimit-policy"] == '"images";q=5;w=60'
        refused = problem(client.get(pictures[0]), 429, "rate_limited")
        assert "pictures" in refused["detail"]
        assert client.get(f"/v1/jobs/{job}").status_code == 200
        assert client.get(f"/v1/jobs/{job}/samples").status_code == 200
        problem(client.get(f"/v1/jobs/{job}"), 429, "rate_limited")
