"""Connections that give up a server which is there and does not answer.

Neither the server's own time limits nor TCP's help where a server hangs, or something between us takes our bytes and
does nothing with them: everything is acknowledged, and nothing comes.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Engine, event


def give_up_after(engine: Engine, seconds: float) -> None:
    """Have every statement of the engine's connections end within so many seconds.

    What does not raises `sqlalchemy.exc.OperationalError`, and its connection is closed: whether it had an effect
    nobody knows, as with any connection that is lost.
    """

    class Bounded(psycopg.Connection[Any]):
        def wait(self, gen: PQGen[Any], *arguments: Any, **options: Any) -> Any:
            try:
                return super().wait(_bounded(gen, seconds), *arguments, **options)
            except _NoAnswer:
                self.pgconn.finish()
                raise psycopg.OperationalError(f"the database did not answer within {seconds:g} seconds") from None

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Any:
        return Bounded.connect(*arguments, **parameters)


class _NoAnswer(Exception):
    pass


def _bounded(gen: PQGen[Any], seconds: float) -> Generator[Any, Any, Any]:
    """The same, with an end: psycopg tells a generator several times a second that nothing has come (`ready` is 0)."""
    until = time.monotonic() + seconds
    try:
        awaited = next(gen)
        while True:
            ready = yield awaited
            if not ready and time.monotonic() >= until:
                raise _NoAnswer
            awaited = gen.send(ready)
    except StopIteration as end:
        return end.value
