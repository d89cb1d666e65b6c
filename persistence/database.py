"""Engine, sessions and transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from persistence.answering import give_up_after

_SERVER_OPTIONS: Final = {
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",  # seconds; the kernel's own default is two hours
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
CLIENT_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds that sent bytes may stay without an acknowledgement
}
"""For libpq: a server whose machine is gone is noticed within 25 seconds, as it notices ours."""


def make_engine(
    url: str, *, statement_seconds: float | None = None, answer_seconds: float | None = None, **options: Any
) -> Engine:
    """An engine for `postgresql+psycopg://…`. `options` go to `sqlalchemy.create_engine`.

    A connection that the server dropped is replaced before use, and a server that does not answer is given up after
    five seconds rather than the kernel's minutes. The other way round, the server ends a transaction in which nothing
    has come for ten seconds, and a connection whose machine is gone: a process that was suspended or cut off would
    otherwise hold its row locks for ever, also the one on the job that somebody else should take over.

    For those whom somebody waits for: the server ends a statement after `statement_seconds`, and where it does not
    answer at all, a connection is given up after `answer_seconds`.
    """
    server = dict(_SERVER_OPTIONS)
    if statement_seconds is not None:
        server["statement_timeout"] = f"{round(1000 * statement_seconds)}ms"
    set_there = " ".join(f"-c {name}={value}" for name, value in server.items())
    arguments: dict[str, Any] = {
        "pool_pre_ping": True,
        "pool_size": 10,
        "max_overflow": 20,
        "pool_timeout": 10.0,
        "connect_args": {**CLIENT_OPTIONS, "application_name": "masktune", "options": set_there},
    }
    if "poolclass" in options:
        for name in ("pool_size", "max_overflow", "pool_timeout"):
            del arguments[name]
    engine = create_engine(url, **(arguments | options))
    if answer_seconds is not None:
        give_up_after(engine, answer_seconds)
    return engine


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose objects stay readable after commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(factory: sessionmaker[Session]) -> Iterator[Session]:
    """One session, one transaction: committed at the end, rolled back by an exception."""
    with factory.begin() as session:
        yield session


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not be reached, went away, or gave way to another transaction, so that the same call
    may succeed later."""
    if isinstance(error, PoolTimeout | InterfaceError) or gave_way(error):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(error, OperationalError):
        sqlstate = getattr(error.orig, "sqlstate", None)
        # Without a SQLSTATE the connection itself failed. 08: connection exception; 57P: operator intervention
        # (shutting down, starting up); 53: insufficient resources (PostgreSQL manual, appendix A).
        return sqlstate is None or sqlstate[:3] == "57P" or sqlstate[:2] in ("08", "53")
    return False


def gave_way(error: BaseException) -> bool:
    """Whether the server undid the transaction because it and another one were in each other's way (SQLSTATE 40001:
    serialization failure, 40P01: deadlock)."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in ("40001", "40P01")


def timed_out(error: BaseException) -> bool:
    """Whether the server ended a statement because it took longer than `statement_seconds`."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == "57014"
