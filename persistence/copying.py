"""Bulk insert with COPY, in the session's own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.orm import Session


def copy_rows(session: Session, table: str, types: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> int:
    """COPY `rows` into `table` and return how many. `types` names each column's PostgreSQL type, for the binary format.

    `rows` may be a generator: they are sent as they come.
    """
    session.flush()
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(column) for column in types)
    )
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(types.values()))
        for row in rows:
            copy.write_row([row[column] for column in types])
            count += 1
    return count
