"""Metrics are rows; writing one again replaces it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from persistence import metrics
from persistence.metrics import MetricFilters
from tests.fixtures.records import claim_job, make_job


def _row(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"stage": "evaluating", "iteration": 0, "epoch": 0, "split": "test", "group": None}
    return row | {"name": "accuracy", "value": 0.5, "count": 10} | changes


def test_a_number_written_again_is_replaced_also_without_a_group(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    metrics.upsert(session, job.id, token, [_row(), _row(group="0-4 · yes", value=None, count=0)])
    metrics.upsert(session, job.id, token, [_row(value=0.75), _row(iteration=1), _row(iteration=1, value=0.9)])
    found = [(row.iteration, row.group, row.value, row.count) for row in metrics.list_all(session, job.id)]
    assert found == [(0, None, 0.75, 10), (0, "0-4 · yes", None, 0), (1, None, 0.9, 10)]


def test_filters_leave_what_matches(session: Session) -> None:
    job, other = make_job(session), make_job(session)
    rows = [
        _row(stage=stage, iteration=iteration, split=split, name=name)
        for stage in ("training_erm", "evaluating")
        for iteration in (0, 1)
        for split in ("train", "test")
        for name in ("accuracy", "loss")
    ]
    metrics.upsert(session, job.id, claim_job(session, job.id).token, rows)
    metrics.upsert(session, other.id, claim_job(session, other.id).token, rows)
    assert len(metrics.list_all(session, job.id)) == 16
    assert len(metrics.list_all(session, job.id, MetricFilters(stage="evaluating", iteration=0))) == 4
    found = metrics.list_all(session, job.id, MetricFilters("evaluating", 0, "test", "loss"))
    assert [(row.stage, row.iteration, row.split, row.name) for row in found] == [("evaluating", 0, "test", "loss")]
