"""A page of samples costs the same however many there are, whatever is asked for, and however deep it lies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from persistence import samples
from persistence.database import make_engine
from persistence.sample_filters import SampleFilters
from persistence.samples import Sort
from persistence.tables.samples import SORTS
from tests.fixtures.records import make_job

COUNT, LIMIT = 20_000, 50
# Without a filter on the class two splits × four outcomes, with one twice as many: two groups.
MOST_READ = 16 * (LIMIT + 1) + 1
# The order of the samples goes against every filter: what a filter keeps lies at the far end of each sort.
FILL = """
INSERT INTO samples (job_id, index, split, label, "group", predicted_before, confidence_before, predicted_after,
                     confidence_after, masked_fraction, confidence_drop, heatmap_distance, height, width, cam_height,
                     cam_width, cam_before, cam_after, mask)
SELECT :job, n, CASE WHEN n > 15000 THEN 'test' ELSE 'train' END, (n > 10000)::int, (n > 10000)::int * 2 + n % 2,
       (n > 10000 AND n % 100 > 2)::int, (n * 7907 % 20000) / 20000.0,
       (n > 10000 AND n % 50 > 2)::int, (n * 7919 % 20000) / 20000.0,
       n / 20000.0, n / 20000.0, n / 20000.0, 8, 8, 2, 2,
       decode(repeat('00', 100), 'hex'), decode(repeat('00', 100), 'hex'), ''
FROM generate_series(1, 20000) AS n
"""
COUNT_KINDS = """
INSERT INTO sample_counts SELECT job_id, split, label, group_key, outcome, count(*)
FROM samples WHERE job_id = :job GROUP BY 1, 2, 3, 4, 5
"""
COUNT_BANDS = """
INSERT INTO sample_bands SELECT job_id, split, label, group_key, outcome, model, LEAST(19, FLOOR(sure * 20)), count(*)
FROM samples, LATERAL (VALUES ('before', confidence_before), ('after', confidence_after)) AS said (model, sure)
WHERE job_id = :job GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
FILTERS = [
    SampleFilters(),
    SampleFilters(split="test"),
    SampleFilters(label=1),
    SampleFilters(group=3),
    SampleFilters(flipped="fixed"),
    SampleFilters(flipped="any", split="test"),
    SampleFilters(correct_after=False, label=1),
    SampleFilters(split="val", correct_before=False),
]


@pytest.fixture(scope="module")
def filled(shared_database_url: str) -> Iterator[tuple[Connection, Any]]:
    engine = make_engine(shared_database_url)
    with engine.connect() as connection, connection.begin() as outer:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            job = make_job(session).id
            session.commit()
        for statement in (FILL, COUNT_KINDS, COUNT_BANDS):
            connection.execute(text(statement), {"job": job})
        connection.execute(text("ANALYZE samples, sample_counts, sample_bands"))
        yield connection, job
        outer.rollback()
    engine.dispose()


@pytest.mark.parametrize("after", [None, 10_001])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("filters", "sort"), list(itertools.product(FILTERS, SORTS)))
def test_a_page_reads_no_more_than_a_page_of_every_kind(
    filled: tuple[Connection, Any], filters: SampleFilters, sort: Sort, descending: bool, after: int | None
) -> None:
    assert _entries_read(filled, filters, sort, descending, after) <= MOST_READ


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize(
    "filters",
    [
        SampleFilters(min_confidence=0.5, max_confidence=0.51),
        SampleFilters(max_confidence=0.3),
        SampleFilters(min_confidence=0.2, max_confidence=0.9, label=1),
        SampleFilters(min_confidence=0.99999, split="train"),
        SampleFilters(min_confidence_before=0.5, max_confidence_before=0.51),
        SampleFilters(max_confidence_before=0.3, label=1),
        SampleFilters(max_confidence_before=0.3, min_confidence=0.999),
    ],
)
def test_a_range_of_confidence_takes_the_shorter_of_two_ways(
    filled: tuple[Connection, Any], filters: SampleFilters, sort: Sort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_SMALL", 100)
    kinds = 16
    root = (kinds * COUNT * (LIMIT + 1)) ** 0.5
    assert _entries_read(filled, filters, sort, False, None) <= max(root, COUNT / 10) + MOST_READ


@pytest.mark.parametrize("model", ["before", "after"])
@pytest.mark.parametrize("sort", SORTS)
def test_what_lies_outside_of_a_range_is_passed_over_within_the_index(
    filled: tuple[Connection, Any], sort: Sort, model: str
) -> None:
    plans = _plans(filled, _SURE[model], sort, False, None)
    conditions = [node.get("Index Cond", "") for plan in plans for node in _nodes(plan)]
    assert any(f"confidence_{model} >=" in condition for condition in conditions)
    assert not [node["Filter"] for plan in plans for node in _nodes(plan) if "confidence" in node.get("Filter", "")]


@pytest.mark.parametrize(
    ("sort", "start"), [("index", 14_999.5), ("masked_fraction", 0.75), ("heatmap_distance", 0.75)]
)
@pytest.mark.parametrize("descending", [False, True])
def test_a_page_from_a_value_on_costs_no_more_than_the_first(
    filled: tuple[Connection, Any], sort: Sort, start: float, descending: bool
) -> None:
    assert _entries_read(filled, SampleFilters(label=1), sort, descending, None, start) <= MOST_READ


_SURE = {
    "before": SampleFilters(min_confidence_before=0.5, label=1),
    "after": SampleFilters(min_confidence=0.5, label=1),
}


def _entries_read(
    filled: tuple[Connection, Any],
    filters: SampleFilters,
    sort: Sort,
    descending: bool,
    after: int | None,
    start: float | None = None,
) -> float:
    """Rows and index entries of `samples` that PostgreSQL touched to find the page, in all statements."""
    read = sum(_touched(plan) for plan in _plans(filled, filters, sort, descending, after, start))
    # The rows of the page itself, and the last one seen, are fetched at the end by their key.
    return read - (LIMIT + 1)


def _plans(
    filled: tuple[Connection, Any],
    filters: SampleFilters,
    sort: Sort,
    descending: bool,
    after: int | None,
    start: float | None = None,
) -> list[dict[str, Any]]:
    """How PostgreSQL found the page, with what it counted on the way."""
    connection, job = filled
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    with Session(connection, join_transaction_mode="create_savepoint") as session:
        event.listen(connection, "before_cursor_execute", note)
        samples.page(session, job, filters, sort=sort, descending=descending, start=start, after=after, limit=LIMIT)
        event.remove(connection, "before_cursor_execute", note)
    plans = []
    for statement, parameters in statements:
        if statement.startswith(("SELECT", "WITH")):
            explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}"
            plan = connection.exec_driver_sql(explain, parameters).scalar_one()
            plans.append((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    assert plans
    return plans


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _touched(node: dict[str, Any]) -> float:
    removed = sum(value for key, value in node.items() if key.startswith("Rows Removed by"))
    here = 0.0
    if node.get("Relation Name") == "samples" or node.get("Index Name", "").startswith("ix_samples"):
        here = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return here + sum(_touched(below) for below in node.get("Plans", ()))
