"""Sending a task: quick, and without an exception, whatever the broker does."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from cli.embedded import EmbeddedRedis
from persistence.dispatch import Dispatcher, Kind, broker_app
from persistence.settings import Settings


def _settings(redis_url: str) -> Settings:
    return Settings(database_url=SecretStr("postgresql+psycopg://nowhere/"), redis_url=SecretStr(redis_url))


@pytest.fixture
def own_redis(server_home: Path) -> Iterator[EmbeddedRedis]:
    """A server to stop and freeze."""
    server = EmbeddedRedis(server_home / "own")
    server.start()
    yield server
    server.stop()


def _send(dispatcher: Dispatcher, kind: Kind = "job") -> bool:
    started = time.monotonic()
    sent = dispatcher.send(kind, uuid.uuid4())
    assert time.monotonic() - started < 2.5
    return sent


@pytest.mark.parametrize(
    ("kind", "queue", "task"),
    [
        ("job", "jobs", "masktune.run_job"),
        ("dataset", "intake", "masktune.check_dataset"),
        ("checkpoint", "intake", "masktune.check_checkpoint"),
    ],
)
def test_a_message_carries_an_id_and_nothing_else(
    redis_url: str, redis_server: EmbeddedRedis, kind: Kind, queue: str, task: str
) -> None:
    ident = uuid.uuid4()
    assert Dispatcher(_settings(redis_url)).send(kind, ident)
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as client:
        [raw] = client.lrange(queue, 0, -1)
    message = json.loads(raw)
    assert message["headers"]["task"] == task
    assert message["content-type"] == "application/json"
    assert message["headers"]["argsrepr"] == f"['{ident}']"


def test_a_redis_that_is_away_costs_little_and_comes_back_by_itself(own_redis: EmbeddedRedis) -> None:
    dispatcher = Dispatcher(_settings(own_redis.url))
    assert _send(dispatcher)
    assert dispatcher.ping()
    own_redis.stop()
    assert not _send(dispatcher)
    assert not dispatcher.ping()
    assert not _send(Dispatcher(_settings(own_redis.url)))
    own_redis.start()
    assert _send(dispatcher)
    assert dispatcher.ping()


def test_a_redis_that_hangs_costs_little(own_redis: EmbeddedRedis) -> None:
    dispatcher = Dispatcher(_settings(own_redis.url))
    assert _send(dispatcher)
    pid = int((own_redis.home / "run" / "redis" / "redis.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not _send(dispatcher)
        started = time.monotonic()
        assert not dispatcher.ping()
        assert time.monotonic() - started < 2.5
    finally:
        os.kill(pid, signal.SIGCONT)
    assert _send(dispatcher)


def test_the_broker_takes_only_json_and_keeps_no_results(redis_url: str) -> None:
    configuration = broker_app(_settings(redis_url)).conf
    assert configuration.accept_content == ["json"]
    assert configuration.task_ignore_result
    assert configuration.result_backend is None
