"""Samples: bulk writing that may be repeated, and pages that agree with plain Python under every filter and sort."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any, Literal
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from persistence import sample_counts, samples
from persistence.errors import NotFound
from persistence.samples import SampleFilters, Sort
from persistence.tables import Sample
from persistence.tables.samples import SORTS
from tests.fixtures.records import claim_job, make_job, sample_row

_random = random.Random(7)
ROWS: list[dict[str, Any]] = [
    sample_row(
        index,
        split=_random.choice(["train", "test:original", "test:biased"]),
        label=_random.randrange(2),
        group=_random.choice([None, 0, 1, 2, 3]),
        predicted_before=_random.randrange(2),
        predicted_after=_random.randrange(2),
        # Few distinct values, so that most samples tie; tenths have no exact single precision.
        masked_fraction=_random.choice([0.0, 0.1, 0.2, 0.7]),
        confidence_before=_random.choice([0.6, 0.9]),
        confidence_after=_random.choice([0.6, 0.7, 0.9]),
        heatmap_distance=_random.choice([0.0, 0.3, 0.4]),
    )
    for index in sorted(_random.sample(range(1000), 60))
]


@pytest.fixture(scope="module")
def browsed(shared_database_url: str) -> Iterator[tuple[Session, Any]]:
    """A job with `ROWS`, and another one, that all tests of this module read."""
    engine = create_engine(shared_database_url, poolclass=NullPool)
    with Session(engine) as session:
        job, other = make_job(session), make_job(session)
        for each in (other, job):
            samples.copy_in(session, each.id, claim_job(session, each.id).token, _random.sample(ROWS, len(ROWS)))
        yield session, job.id
        session.rollback()


def _matches(row: dict[str, Any], filters: SampleFilters) -> bool:
    before, after = row["predicted_before"] == row["label"], row["predicted_after"] == row["label"]
    flips = {"fixed": not before and after, "broken": before and not after, "any": before != after}
    return (
        filters.split in (None, row["split"])
        and filters.label in (None, row["label"])
        and (filters.group is None or filters.group == row["group"])
        and (filters.flipped is None or flips[filters.flipped])
        and filters.correct_before in (None, before)
        and filters.correct_after in (None, after)
        and (filters.min_confidence is None or row["confidence_after"] > filters.min_confidence)
        and (filters.max_confidence is None or row["confidence_after"] < filters.max_confidence)
        and (filters.min_confidence_before is None or row["confidence_before"] > filters.min_confidence_before)
        and (filters.max_confidence_before is None or row["confidence_before"] < filters.max_confidence_before)
        and (filters.indices is None or row["index"] in filters.indices)
    )


FILTERS = st.builds(
    SampleFilters,
    split=st.sampled_from([None, "train", "test:original", "val"]),
    label=st.sampled_from([None, 0, 1]),
    group=st.sampled_from([None, None, 0, 3]),
    flipped=st.sampled_from([None, "fixed", "broken", "any"]),
    correct_before=st.sampled_from([None, None, True, False]),
    correct_after=st.sampled_from([None, None, True, False]),
    min_confidence=st.sampled_from([None, None, 0.65]),
    max_confidence=st.sampled_from([None, None, 0.8]),
    min_confidence_before=st.sampled_from([None, None, 0.7]),
    max_confidence_before=st.sampled_from([None, None, 0.7]),
    indices=st.sampled_from([None, None, None, (), tuple(row["index"] for row in ROWS[::3]), (1001,)]),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filters=FILTERS,
    sort=st.sampled_from(SORTS),
    descending=st.booleans(),
    start=st.sampled_from([None, None, 0.15, 0.3]),
    limit=st.integers(1, 25),
)
def test_pages_agree_with_sorting_and_filtering_in_python(
    browsed: tuple[Session, Any],
    filters: SampleFilters,
    sort: Sort,
    descending: bool,
    start: float | None,
    limit: int,
) -> None:
    session, job_id = browsed
    fitting = [row for row in _sorted(sort, descending) if _matches(row, filters)]
    if start is not None and sort == "index":
        start = round(1000 * start)
    expected = [row["index"] for row in fitting if start is None or _from(row, sort, start, descending)]
    for small in (0, 5000):  # both ways to read a range of confidence
        with patch.object(samples, "_SMALL", small):
            assert _walk(session, job_id, filters, sort, descending, limit, start) == expected
    counted = None if filters.ranges and filters.indices is None else len(fitting)
    assert sample_counts.total(session, job_id, filters) == counted


@pytest.mark.parametrize("scan", ["indexscan", "seqscan"])
@pytest.mark.parametrize(("sort", "descending"), list(itertools.product(SORTS, [True, False])))
def test_every_sort_shows_every_sample_once_however_the_planner_reads_them(
    browsed: tuple[Session, Any], sort: Sort, descending: bool, scan: str
) -> None:
    session, job_id = browsed
    session.execute(text("SAVEPOINT scan"))
    for other in {"indexscan", "bitmapscan", "seqscan"} - {scan}:
        session.execute(text(f"SET LOCAL enable_{other} = off"))
    seen = _walk(session, job_id, SampleFilters(), sort, descending, 7)
    session.execute(text("ROLLBACK TO SAVEPOINT scan"))
    assert seen == [row["index"] for row in _sorted(sort, descending)]


def _from(row: dict[str, Any], sort: str, start: float, descending: bool) -> bool:
    return bool(row[sort] <= start if descending else row[sort] >= start)


def _sorted(sort: str, descending: bool) -> list[dict[str, Any]]:
    return sorted(ROWS, key=lambda row: (round(row[sort], 6), row["index"]), reverse=descending)


def _walk(
    session: Session,
    job_id: Any,
    filters: SampleFilters,
    sort: Sort,
    descending: bool,
    limit: int,
    start: float | None = None,
) -> list[int]:
    seen: list[int] = []
    after: int | None = None
    while True:
        page = samples.page(
            session, job_id, filters, sort=sort, descending=descending, start=start, after=after, limit=limit
        )
        assert len(page.rows) == limit or not page.has_more
        seen += [sample.index for sample in page.rows]
        assert len(seen) <= len(ROWS), "the pages go round in circles"
        if page.next is None:
            return seen
        assert isinstance(page.next, int)
        after = page.next


def test_a_batch_sent_again_replaces_itself(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    samples.copy_in(session, job.id, token, [sample_row(index) for index in range(5)])
    samples.copy_in(session, job.id, token, [sample_row(index, label=1, mask=b"new") for index in range(3, 8)])
    assert _walk(session, job.id, SampleFilters(), "index", False, 100) == list(range(8))
    assert _walk(session, job.id, SampleFilters(label=1), "index", False, 100) == [3, 4, 5, 6, 7]
    assert samples.get(session, job.id, 4).mask == b"new"
    assert [sample_counts.total(session, job.id, SampleFilters(label=label)) for label in (None, 0, 1)] == [8, 3, 5]


def test_a_sample_comes_back_as_it_was(session: Session) -> None:
    job = make_job(session)
    row = sample_row(5, cam_before=bytes(range(98)), mask=b"\x00\xff", group=3, split="test:Schrödinger")
    samples.copy_in(session, job.id, claim_job(session, job.id).token, [row])
    found = samples.get(session, job.id, 5)
    for name, value in row.items():
        assert getattr(found, name) == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    with pytest.raises(NotFound, match="no sample 6"):
        samples.get(session, job.id, 6)


@pytest.mark.parametrize("blob", ["cam_before", "cam_after", "mask"])
def test_a_page_leaves_the_pictures_where_they_are(
    browsed: tuple[Session, Any], blob: Literal["cam_before", "cam_after", "mask"]
) -> None:
    session, job_id = browsed
    session.expunge_all()
    [sample] = samples.page(session, job_id, limit=1).rows
    assert isinstance(sample, Sample)
    with pytest.raises(InvalidRequestError):
        getattr(sample, blob)


def test_an_unknown_cursor_gives_an_empty_page(browsed: tuple[Session, Any]) -> None:
    session, job_id = browsed
    assert samples.page(session, job_id, sort="masked_fraction", after=5000).rows == []
