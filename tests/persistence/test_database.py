"""Transactions, and telling a database that is away from a statement that is wrong."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from persistence.database import gave_way, is_unavailable, make_engine, session_factory, transaction
from persistence.tables import Tenant
from tests.fixtures.records import make_tenant, unique


def test_a_transaction_is_whole_or_not_at_all(sessions: sessionmaker[Session]) -> None:
    def fail() -> None:
        with transaction(sessions) as session:
            make_tenant(session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with transaction(sessions) as session:
        assert session.query(Tenant).count() == 0
        make_tenant(session)
    with transaction(sessions) as session:
        assert session.query(Tenant).count() == 1


def test_rows_stay_readable_after_commit(sessions: sessionmaker[Session]) -> None:
    name = unique("tenant")
    with transaction(sessions) as session:
        tenant = Tenant(name=name)
        session.add(tenant)
    assert tenant.name == name


def test_a_server_that_is_not_there_is_unavailable_and_says_so_soon(tmp_path: Path) -> None:
    engine = make_engine(f"postgresql+psycopg://postgres@/none?host={tmp_path}")
    started = time.monotonic()
    with pytest.raises(OperationalError) as error:
        engine.connect()
    assert is_unavailable(error.value)
    assert time.monotonic() - started < 6


def test_a_connection_that_the_server_ended_is_unavailable_once(database_url: str) -> None:
    engine = make_engine(database_url)
    sessions = session_factory(engine)

    def interrupted() -> None:
        with transaction(sessions) as session:
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            with transaction(sessions) as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            session.execute(text("SELECT 1"))

    with pytest.raises(SQLAlchemyError) as error:
        interrupted()
    assert is_unavailable(error.value)
    with transaction(sessions) as session:
        assert session.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_of_two_transactions_in_each_others_way_one_may_be_tried_again(sessions: sessionmaker[Session]) -> None:
    take = text("SELECT pg_advisory_xact_lock(:number)")
    both_have_one = threading.Barrier(2)

    def lock(first: int, second: int) -> BaseException | None:
        try:
            with transaction(sessions) as session:
                session.execute(take, {"number": first})
                both_have_one.wait()
                session.execute(take, {"number": second})
        except DBAPIError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lock, (1, 2), (2, 1)))
    [error] = filter(None, ended)
    assert gave_way(error)
    assert is_unavailable(error)


@pytest.mark.parametrize("statement", ["SELECT 1/0", "SELECT nothing", "SELECT 'x'::int"])
def test_a_wrong_statement_is_not_unavailability(session: Session, statement: str) -> None:
    with pytest.raises(DBAPIError) as error:
        session.execute(text(statement))
    assert not is_unavailable(error.value)
    assert not is_unavailable(ValueError())


def test_a_transaction_that_the_server_ended_for_being_idle_may_be_tried_again(database_url: str) -> None:
    engine = make_engine(database_url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET idle_in_transaction_session_timeout = '50ms'"))
        time.sleep(0.5)
        with pytest.raises(DBAPIError) as raised:
            connection.execute(text("SELECT 1"))
        connection.invalidate()
    assert is_unavailable(raised.value)
