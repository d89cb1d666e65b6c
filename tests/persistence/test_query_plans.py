"""The queries of every request and sweep use an index, however large the tables grow."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session

from persistence import (
    api_keys,
    artifacts,
    checkpoints,
    datasets,
    events,
    jobs,
    metrics,
    objects,
    resume_points,
    samples,
    uploads,
)
from persistence.database import make_engine
from persistence.errors import NotFound
from persistence.samples import SampleFilters

ID, OTHER = uuid.uuid4(), uuid.uuid4()
LAST = uuid.UUID(int=2**128 - 1)

QUERIES: dict[str, Callable[[Session], Any]] = {
    "authenticate": lambda session: api_keys.authenticate(session, "mt_nothing"),
    "list keys": lambda session: api_keys.list_keys(session, ID),
    "get job": lambda session: jobs.get(session, ID, ID),
    "list jobs": lambda session: jobs.list_page(session, OTHER, after=LAST),
    "list failed jobs": lambda session: jobs.list_page(session, OTHER, status="failed", after=LAST),
    "claim": lambda session: jobs.claim(session, ID, worker="w", lease_seconds=1),
    "expired jobs": jobs.expired,
    "undispatched jobs": lambda session: jobs.undispatched(session, 1.0),
    "expired datasets": datasets.expired,
    "undispatched datasets": lambda session: datasets.undispatched(session, 1.0),
    "undispatched checkpoints": lambda session: checkpoints.undispatched(session, 1.0),
    "list datasets": lambda session: datasets.list_page(session, ID, after=ID),
    "list checkpoints": lambda session: checkpoints.list_page(session, ID, after=ID),
    "list uploads": lambda session: uploads.list_page(session, ID, after=ID),
    "expire uploads": uploads.expire,
    "unreferenced objects": lambda session: objects.unreferenced(session, timedelta(days=1)),
    "images": lambda session: datasets.images_page(session, ID, split="train", after=5),
    "image": lambda session: datasets.get_image(session, ID, 5),
    "events": lambda session: events.page(session, ID, 5),
    "metrics": lambda session: metrics.list_all(session, ID),
    "artifacts": lambda session: artifacts.list_all(session, ID),
    "resume points": lambda session: resume_points.newest(session, ID),
    "sample": lambda session: samples.get(session, ID, 5),
    "samples": lambda session: samples.page(session, ID, after=5),
    "samples of a split": lambda session: samples.page(session, ID, SampleFilters(split="test"), after=5),
    "flipped samples": lambda session: samples.page(session, ID, SampleFilters(flipped="broken"), after=5),
    "samples by fraction": lambda session: samples.page(session, ID, sort="masked_fraction", after=5),
    "samples of a class": lambda session: samples.page(session, ID, SampleFilters(label=1), after=5),
    "samples by confidence": lambda session: samples.page(session, ID, SampleFilters(min_confidence=0.5), after=5),
    "samples by drop": lambda session: samples.page(session, ID, sort="confidence_drop", descending=True, after=5),
}


@pytest.fixture(scope="module")
def engine(shared_database_url: str) -> Iterator[Engine]:
    engine = make_engine(shared_database_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_reads_a_whole_table(engine: Engine, query: str) -> None:
    with engine.connect() as connection, connection.begin() as outer:
        # An empty table is cheapest to read whole; forbidden, the planner still does when there is no other way.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        for plan in _plans(connection, query):
            assert "Seq Scan" not in plan, plan
            assert "Disabled: true" not in plan, plan
        outer.rollback()


@pytest.fixture(scope="module")
def filled(engine: Engine) -> Iterator[Connection]:
    """Jobs of a large and a small tenant, few of them unfinished."""
    with engine.connect() as connection, connection.begin() as outer:
        connection.execute(
            text("INSERT INTO tenants (id, name) VALUES (:id, 'filled'), (:other, 'other')"), {"id": ID, "other": OTHER}
        )
        connection.execute(
            text(
                """
                INSERT INTO jobs (id, tenant_id, name, config, status, lease_expires_at)
                SELECT CASE n WHEN 1 THEN CAST(:id AS uuid) ELSE uuidv7() END,
                       CAST(CASE n % 40 WHEN 0 THEN :other ELSE :id END AS uuid), 'job', '{}',
                       CASE WHEN n % 100 = 1 THEN 'queued' WHEN n % 100 = 2 THEN 'running'
                            WHEN n % 3 = 0 THEN 'failed' ELSE 'succeeded' END, now()
                FROM generate_series(1, 4000) AS n
                """
            ),
            {"id": ID, "other": OTHER},
        )
        connection.execute(text("ANALYZE jobs"))
        yield connection
        outer.rollback()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("expired jobs", "ix_jobs_leased"),
        ("undispatched jobs", "ix_jobs_queued"),
        ("list jobs", "ix_jobs_tenant_id"),
        ("list failed jobs", "ix_jobs_tenant_id"),
    ],
)
def test_a_large_table_is_read_through_the_index_made_for_it(filled: Connection, query: str, index: str) -> None:
    [plan] = _plans(filled, query)
    assert index in plan
    if query not in ("undispatched jobs", "expired jobs"):  # those sort the few rows of a partial index
        assert "Sort" not in plan


def _plans(connection: Connection, query: str) -> list[str]:
    """How PostgreSQL means to run each statement of a query."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    with Session(connection, join_transaction_mode="create_savepoint") as session:
        event.listen(connection, "before_cursor_execute", note)
        with suppress(NotFound):
            QUERIES[query](session)
        event.remove(connection, "before_cursor_execute", note)
        return [
            "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters or None))
            for statement, parameters in statements
            if not statement.startswith(("SAVEPOINT", "RELEASE"))
        ]
