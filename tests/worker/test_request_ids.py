"""A request's id is on every line that its job or data set logs, down to the child process."""

from __future__ import annotations

import json
import logging
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog
from sqlalchemy.orm import Session, sessionmaker

from persistence.database import transaction
from persistence.logging import configure_logging
from persistence.tables import Dataset, Job
from tests.fixtures.records import make_dataset, make_job
from worker.context import Context
from worker.standby import Standby
from worker.supervisor import run_job
from worker.validation import run_check

# Does what the children do at their start, says one thing, and fails.
CHILD = """
import structlog
from worker import lifeline
from persistence.logging import configure_logging
from persistence.settings import get_settings
lifeline.receive()
configure_logging(get_settings(), json=True)
structlog.get_logger("child").info("said_by_the_child")
raise SystemExit(1)
"""
REQUEST = "req-4711"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def saying(context: Context) -> Context:
    command = (sys.executable, "-c", CHILD)
    return replace(context, trainers=Standby(command), intake=command)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]


def test_a_jobs_lines_carry_the_request_that_submitted_it(
    saying: Context, sessions: sessionmaker[Session], tenant: uuid.UUID, capfd: pytest.CaptureFixture[str]
) -> None:
    with transaction(sessions) as session:
        job = session.get_one(Job, make_job(session, tenant, max_attempts=1).id)
        job.request_id = REQUEST
    configure_logging(saying.settings, json=True)
    run_job(saying, job.id)
    logged = [line for line in lines(capfd) if line.get("job_id") == str(job.id)]
    assert {line["event"] for line in logged} >= {"attempt_started", "said_by_the_child", "attempt_ended"}
    assert {line["request_id"] for line in logged} == {REQUEST}


def test_a_data_sets_lines_carry_the_request_that_made_it(
    saying: Context, sessions: sessionmaker[Session], tenant: uuid.UUID, capfd: pytest.CaptureFixture[str]
) -> None:
    with transaction(sessions) as session:
        dataset = session.get_one(Dataset, make_dataset(session, tenant, ready=False).id)
        dataset.request_id = REQUEST
    configure_logging(saying.settings, json=True)
    run_check(saying, dataset.id)
    logged = [line for line in lines(capfd) if line.get("dataset_id") == str(dataset.id)]
    assert {line["event"] for line in logged} >= {"said_by_the_child"}
    assert {line["request_id"] for line in logged} == {REQUEST}
