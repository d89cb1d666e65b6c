"""Following a job over server-sent events."""

from __future__ import annotations

import json

import pytest

from cli.client import Client
from cli.errors import ConnectionFailed, Problem
from cli.job_events import JobEvent, watch
from tests.cli.http_server import Request, serving


def stream(*events: tuple[int | None, str]) -> bytes:
    lines = []
    for seq, kind in events:
        number = "" if seq is None else f"id: {seq}\n"
        lines.append(f"event: {kind}\n{number}data: {json.dumps({'kind': kind})}\n\n")
    return "".join([": hello\n\n", *lines]).encode()


def watch_all(url: str) -> list[JobEvent]:
    with Client(url, "mt_test", sleep=lambda _: None) as client:
        return list(watch(client, "j", sleep=lambda _: None))


def test_a_broken_stream_is_taken_up_after_the_last_event_and_nothing_comes_twice() -> None:
    def answer(request: Request, number: int) -> None:
        if number == 1:
            body = stream((1, "job.queued"), (None, "progress"), (2, "job.started"))
            request.reply(200, body, "text/event-stream", announced=len(body) + 100)
        elif number == 2:
            request.reply(503, b"{}")
        else:
            request.reply(200, stream((2, "job.started"), (3, "job.succeeded"), (4, "never")), "text/event-stream")

    with serving(answer) as server:
        events = watch_all(server.url)
    assert [(event.seq, event.type) for event in events] == [
        (1, "job.queued"),
        (None, "progress"),
        (2, "job.started"),
        (3, "job.succeeded"),
    ]
    assert [headers.get("Last-Event-ID") for _, _, headers in server.seen] == [None, "2", "2"]


def test_a_progress_snapshot_after_a_numbered_event_is_not_taken_for_a_repeat() -> None:
    body = stream((1, "job.started"), (None, "progress"), (None, "progress"), (2, "job.failed"))
    with serving(lambda request, _: request.reply(200, body, "text/event-stream")) as server:
        assert [event.type for event in watch_all(server.url)] == ["job.started", "progress", "progress", "job.failed"]


def test_a_job_that_does_not_exist_ends_the_watch_at_once() -> None:
    with serving(lambda request, _: request.reply(404, b'{"code": "job_not_found", "title": "No such job"}')) as server:
        with pytest.raises(Problem, match="job_not_found"):
            watch_all(server.url)
    assert len(server.seen) == 1


def test_a_service_that_stays_away_is_given_up() -> None:
    with (
        serving(lambda request, _: request.reply(503, b"{}")) as server,
        pytest.raises(ConnectionFailed, match="broke"),
    ):
        watch_all(server.url)
    assert 3 < len(server.seen) < 20


def test_what_the_check_raises_ends_the_watch() -> None:
    class ServiceDied(Exception):
        pass

    def check() -> None:
        raise ServiceDied

    with serving(lambda request, _: request.reply(200, b"", "text/event-stream")) as server:
        with Client(server.url, "mt_test") as client, pytest.raises(ServiceDied):
            list(watch(client, "j", check=check))
    assert server.seen == []
