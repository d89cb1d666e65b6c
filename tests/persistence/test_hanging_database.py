"""A database that hangs, or a line to it that has gone dead, is as good as away: it is given up in time."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from starlette.testclient import TestClient

from api import services
from api.main import create_app
from persistence import api_keys
from persistence.database import is_unavailable, make_engine, session_factory, timed_out, transaction
from persistence.settings import Settings
from tests.fixtures.records import make_job, make_tenant
from tests.fixtures.swallowing_proxy import SwallowingProxy, swallowing_proxy


@pytest.fixture
def proxy(database_url: str) -> Iterator[SwallowingProxy]:
    sockets = Path(str(make_url(database_url).query["host"]))
    with swallowing_proxy(sockets / ".s.PGSQL.5432") as made:
        yield made


@pytest.fixture
def far_url(database_url: str, proxy: SwallowingProxy) -> str:
    url = make_url(database_url).set(host="127.0.0.1", port=proxy.port, query={})
    return url.render_as_string(hide_password=False)


@pytest.fixture
def engine(far_url: str) -> Iterator[Engine]:
    made = make_engine(far_url, answer_seconds=0.5)
    yield made
    made.dispose()


def test_a_statement_without_an_answer_is_given_up_and_the_next_one_has_a_new_connection(
    engine: Engine, proxy: SwallowingProxy
) -> None:
    sessions = session_factory(engine)

    def hang() -> None:
        with transaction(sessions) as session:
            session.execute(text("SELECT 1"))
            proxy.swallowing.set()
            session.execute(text("SELECT 2"))

    started = time.monotonic()
    with pytest.raises(OperationalError, match=r"did not answer within 0\.5 seconds") as raised:
        hang()
    assert is_unavailable(raised.value)
    assert time.monotonic() - started < 3
    proxy.swallowing.clear()
    with transaction(sessions) as session:
        assert session.scalar(text("SELECT 3")) == 3


def test_a_commit_and_a_look_before_use_are_given_up_too(engine: Engine, proxy: SwallowingProxy) -> None:
    sessions = session_factory(engine)

    def hang() -> None:
        with transaction(sessions) as session:
            session.execute(text("SELECT 1"))
            proxy.swallowing.set()

    for _ in range(2):  # the second finds the connections of the first, or none, and is refused one
        started = time.monotonic()
        with pytest.raises(DBAPIError) as raised:
            hang()
        assert is_unavailable(raised.value)
        assert time.monotonic() - started < 3


def test_what_the_server_works_on_for_long_is_no_hanging_without_a_limit(far_url: str) -> None:
    engine = make_engine(far_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1 FROM pg_sleep(0.7)")) == 1
    engine.dispose()


def test_the_kernel_gives_up_a_machine_that_is_gone(far_url: str) -> None:
    engine = make_engine(far_url)
    with engine.connect() as connection:
        descriptor = os.dup(connection.connection.driver_connection.pgconn.socket)  # type: ignore[union-attr]
        with socket.socket(fileno=descriptor) as wire:
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            found = [wire.getsockopt(socket.IPPROTO_TCP, option) for option in options]
    assert found == [10, 5, 3, 15_000]
    engine.dispose()


def test_the_server_ends_a_statement_that_takes_too_long(database_url: str) -> None:
    engine = make_engine(database_url, statement_seconds=0.2)
    with engine.connect() as connection, pytest.raises(DBAPIError) as raised:
        connection.execute(text("SELECT pg_sleep(5)"))
    assert timed_out(raised.value)
    assert not is_unavailable(raised.value), "it would take as long the next time"
    engine.dispose()


def test_the_api_answers_503_while_the_database_hangs(
    settings: Settings, far_url: str, proxy: SwallowingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_ANSWER_SECONDS", 0.5)
    headers = {"Authorization": "Bearer mt_" + "x" * 43}
    with TestClient(create_app(settings.model_copy(update={"database_url": SecretStr(far_url)}))) as client:
        assert client.get("/v1/jobs", headers=headers).status_code == 401
        proxy.swallowing.set()
        answer = client.get("/v1/jobs", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        proxy.swallowing.clear()
        assert client.get("/v1/jobs", headers=headers).status_code == 401


def test_the_api_answers_503_where_the_database_takes_too_long(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_STATEMENT_SECONDS", 0.5)
    engine = make_engine(settings.database_url.get_secret_value())
    sessions = session_factory(engine)
    with transaction(sessions) as session:
        tenant = make_tenant(session)
        _, secret = api_keys.create(session, tenant, "test")
        job_id: uuid.UUID = make_job(session, tenant).id
    with TestClient(create_app(settings), headers={"Authorization": f"Bearer {secret}"}) as client:
        with transaction(sessions) as blocking:
            blocking.execute(text("SELECT 1 FROM jobs FOR UPDATE"))
            answer = client.post(f"/v1/jobs/{job_id}/cancel")
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
            assert int(answer.headers["retry-after"]) > 0
        assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    engine.dispose()
