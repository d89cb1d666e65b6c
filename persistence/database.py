"""Engine, sessions and transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

_SERVER_OPTIONS: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "idle_in_transaction_session_timeout": "10s",
        "tcp_keepalives_idle": "10",  # seconds; the kernel's own default is two hours
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }.items()
)


def make_engine(url: str, **options: Any) -> Engine:
    """An engine for `postgresql+psycopg://…`. `options` go to `sqlalchemy.create_engine`.

    A connection that the server dropped is replaced before use, and a server that does not answer is given up after
    five seconds rather than the kernel's minutes. The other way round, the server ends a transaction in which nothing
    has come for ten seconds, and a connection whose machine is gone: a process that was suspended or cut off would
    otherwise hold its row locks for ever, also the one on the job that somebody else should take over.
    """
    arguments: dict[str, Any] = {
        "pool_pre_ping": True,
        "pool_size": 10,
        "max_overflow": 20,
        "pool_timeout": 10.0,
        "connect_args": {"connect_timeout": 5, "application_name": "masktune", "options": _SERVER_OPTIONS},
    }
    if "poolclass" in options:
        for name in ("pool_size", "max_overflow", "pool_timeout"):
            del arguments[name]
    return create_engine(url, **(arguments | options))


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions whose objects stay readable after commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(factory: sessionmaker[Session]) -> Iterator[Session]:
    """One session, one transaction: committed at the end, rolled back by an exception."""
    with factory.begin() as session:
        yield session


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not be reached or went away, so that the same call may succeed later."""
    if isinstance(error, PoolTimeout | InterfaceError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(error, OperationalError):
        sqlstate = getattr(error.orig, "sqlstate", None)
        # Without a SQLSTATE the connection itself failed. 08: connection exception; 57P: operator intervention
        # (shutting down, starting up); 53: insufficient resources (PostgreSQL manual, appendix A).
        return sqlstate is None or sqlstate[:3] == "57P" or sqlstate[:2] in ("08", "53")
    return False
