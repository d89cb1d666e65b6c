"""The queries of every request and sweep use an index, however large the tables grow."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
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

ID = uuid.uuid4()

QUERIES: dict[str, Callable[[Session], Any]] = {
    "authenticate": lambda session: api_keys.authenticate(session, "mt_nothing"),
    "list keys": lambda session: api_keys.list_keys(session, ID),
    "get job": lambda session: jobs.get(session, ID, ID),
    "list jobs": lambda session: jobs.list_page(session, ID, after=ID),
    "list jobs by status": lambda session: jobs.list_page(session, ID, status="queued", after=ID),
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
    "samples by drop": lambda session: samples.page(session, ID, sort="confidence_drop", descending=True, after=5),
}


@pytest.fixture(scope="module")
def engine(shared_database_url: str) -> Iterator[Engine]:
    engine = make_engine(shared_database_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_reads_a_whole_table(engine: Engine, query: str) -> None:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    with engine.connect() as connection, connection.begin() as outer:
        # An empty table is cheapest to read whole; forbidden, the planner still does when there is no other way.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        with Session(connection) as session:
            event.listen(connection, "before_cursor_execute", note)
            try:
                QUERIES[query](session)
            except NotFound:
                pass
            finally:
                event.remove(connection, "before_cursor_execute", note)
            assert statements
            for statement, parameters in statements:
                plan = "\n".join(
                    row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters or None)
                )
                assert "Seq Scan" not in plan, plan
                assert "Disabled: true" not in plan, plan
        outer.rollback()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("flipped samples", "ix_samples_flipped"),
        ("samples by fraction", "ix_samples_job_id_masked_fraction_index"),
        ("samples by drop", "ix_samples_job_id_confidence_drop_index"),
        ("samples of a split", "ix_samples_job_id_split_index"),
        ("expired jobs", "ix_jobs_leased"),
        ("undispatched jobs", "ix_jobs_queued"),
        ("list jobs by status", "ix_jobs_tenant_id_status_id"),
    ],
)
def test_a_page_is_read_in_the_order_of_its_own_index(engine: Engine, query: str, index: str) -> None:
    captured: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        captured.append((statement, parameters))

    with engine.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        connection.execute(text("SET LOCAL enable_sort = off"))
        with Session(connection) as session:
            event.listen(connection, "before_cursor_execute", note)
            QUERIES[query](session)
            event.remove(connection, "before_cursor_execute", note)
            [(statement, parameters)] = captured
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters))
        assert index in plan
        if query != "undispatched jobs":
            assert "Sort" not in plan
        connection.rollback()
