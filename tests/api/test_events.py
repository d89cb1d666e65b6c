"""A job's log, as pages and as a stream."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import make_url
from starlette.testclient import TestClient

from api.events import stream
from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.seeds import Seeds
from tests.api.test_errors import problem

STREAM = {"Accept": "text/event-stream"}


@contextmanager
def following(client: httpx.Client, job_id: uuid.UUID, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The messages of an event stream as they come; a comment is {"comment": …}."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers={**STREAM, **headers}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield messages(response.iter_lines())


def messages(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    message: dict[str, Any] = {}
    for line in lines:
        if not line:
            yield message
            message = {}
            continue
        field, _, value = line.partition(": ")
        message[field or "comment"] = json.loads(value) if field == "data" else value


def test_the_log_comes_in_pages(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    for number in range(4):
        seeds.event(job_id, "job.warning", {"code": "odd", "message": str(number)})
    page = client.get(f"/v1/jobs/{job_id}/events", params={"limit": 3}).json()
    assert [event["seq"] for event in page["data"]] == [1, 2, 3]
    assert (page["data"][0]["type"], page["has_more"], page["next"]) == ("job.queued", True, "3")
    rest = client.get(f"/v1/jobs/{job_id}/events", params={"limit": 3, "after": page["next"]}).json()
    assert [event["data"]["message"] for event in rest["data"]] == ["2", "3"]
    assert rest["has_more"] is False
    problem(client.get(f"/v1/jobs/{job_id}/events?after=-1"), 422, "invalid_request")


def test_a_stream_tells_the_past_and_then_what_happens(live: httpx.Client, seeds: Seeds) -> None:
    job_id = seeds.job()
    with following(live, job_id) as events:
        assert next(events) == {"retry": "2000"}
        assert next(events) == {"id": "1", "event": "job.queued", "data": {}}
        token = seeds.claim(job_id)
        started = next(events)
        assert (started["id"], started["event"], started["data"]["device"]) == ("2", "job.started", "cpu")
        seeds.progress(job_id, token, {"stage": "training_erm", "epoch": 1, "step": 5})
        shown = next(events)
        assert (shown["event"], shown["data"]["step"], "id" in shown) == ("progress", 5, False)
        seeds.finish(job_id, token)
        assert [event["event"] for event in events] == ["job.succeeded"]


def test_an_event_arrives_without_waiting_for_the_next_look(live: httpx.Client, seeds: Seeds) -> None:
    job_id = seeds.job()
    with following(live, job_id) as events:
        next(events), next(events)
        delays = []
        for _ in range(5):
            sent = time.monotonic()
            seeds.event(job_id, "job.warning", {"code": "odd", "message": ""})
            next(events)
            delays.append(time.monotonic() - sent)
    assert sorted(delays)[2] < 0.5


def test_a_stream_goes_on_after_the_last_id(live: httpx.Client, seeds: Seeds) -> None:
    job_id = seeds.job()
    token = seeds.claim(job_id)
    seeds.finish(job_id, token)
    with following(live, job_id, **{"Last-Event-ID": "1"}) as events:
        assert [event["id"] for event in list(events)[1:]] == ["2", "3"]
    done = live.get(f"/v1/jobs/{job_id}/events", headers={**STREAM, "Last-Event-ID": "3"})
    assert (done.status_code, done.content) == (204, b"")
    bad = live.get(f"/v1/jobs/{job_id}/events", headers={**STREAM, "Last-Event-ID": "x"})
    problem(bad, 422, "invalid_request")
    problem(live.get(f"/v1/jobs/{uuid.uuid4()}/events", headers=STREAM), 404, "job_not_found")


def test_a_long_log_is_streamed_whole(live: httpx.Client, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_BATCH", 3)
    job_id = seeds.job()
    for number in range(9):
        seeds.event(job_id, "job.warning", {"code": "odd", "message": str(number)})
    seeds.finish(job_id, seeds.claim(job_id))
    with following(live, job_id) as events:
        assert [event["id"] for event in list(events)[1:]] == [str(seq) for seq in range(1, 13)]


def test_a_silent_stream_shows_that_it_lives(live: httpx.Client, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEPALIVE_SECONDS", 0.1)
    with following(live, seeds.job()) as events:
        next(events), next(events)
        assert next(events) == {"comment": "still here"}


def test_the_stream_of_a_deleted_job_ends(live: httpx.Client, seeds: Seeds) -> None:
    job_id = seeds.job()
    with following(live, job_id) as events:
        next(events), next(events)
        live.post(f"/v1/jobs/{job_id}/cancel")
        live.delete(f"/v1/jobs/{job_id}")
        assert [event["event"] for event in events] in (["job.cancelled"], [])


def test_streams_survive_the_loss_of_the_listening_connection(
    live: httpx.Client, settings: Settings, seeds: Seeds
) -> None:
    job_id = seeds.job()
    with following(live, job_id) as events:
        next(events), next(events)
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'masktune-events' AND datname = current_database()"
            ).fetchall()
        assert ended == [(True,)]
        seeds.event(job_id, "job.warning", {"code": "odd", "message": "still told"})
        assert next(events)["data"]["message"] == "still told"


def test_one_connection_listens_for_all_streams(live: httpx.Client, settings: Settings, seeds: Seeds) -> None:
    jobs = [seeds.job() for _ in range(3)]
    with following(live, jobs[0]) as one, following(live, jobs[1]) as two, following(live, jobs[2]) as three:
        for events in (one, two, three):
            next(events), next(events)
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            [[count]] = connection.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'masktune-events' AND datname = current_database()"
            ).fetchall()
    assert count == 1


def test_a_client_that_goes_away_is_forgotten(settings: Settings, key: str, seeds: Seeds) -> None:
    job_id = seeds.job()
    with serving(settings) as (url, server):
        hub = server.config.app.state.services.hub  # type: ignore[union-attr]  # an application, not its name
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
            with following(client, job_id) as events:
                next(events)
                wait_until(lambda: hub.streams == 1)
        wait_until(lambda: hub.streams == 0)


def test_streams_end_when_the_server_stops(settings: Settings, key: str, seeds: Seeds) -> None:
    job_id = seeds.job()
    ended = threading.Event()
    with serving(settings) as (url, _):
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"})

        def follow() -> None:
            with client, following(client, job_id) as events:
                list(events)
            ended.set()

        thread = threading.Thread(target=follow)
        thread.start()
        time.sleep(0.3)
        assert not ended.is_set()
    thread.join(5)
    assert ended.is_set()


def wait_until(reached: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)
