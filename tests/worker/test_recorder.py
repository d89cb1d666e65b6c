"""What a run reports reaches the database, whatever numbers are in it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.callbacks import EpochRecord, Metric, Progress
from persistence import jobs
from persistence.database import transaction
from persistence.store import ObjectStore
from persistence.tables import Metric as MetricRow
from tests.worker.conftest import JobMaker
from tests.worker.driving import read_events, read_job
from worker.pulse import Pulse
from worker.recorder import Recorder


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_stored_as_unknown(
    sessions: sessionmaker[Session], store: ObjectStore, make_job: JobMaker, tmp_path: Path, number: float
) -> None:
    """A database takes no such JSON: the run would end as a defect of the service, not as diverged."""
    job_id = make_job()
    with transaction(sessions) as session:
        claim = jobs.claim(session, job_id, worker="test", lease_seconds=60.0)
        assert claim is not None
    with Recorder(
        sessions,
        store,
        job_id=job_id,
        token=claim.token,
        outbox=tmp_path,
        stopped=lambda: False,
        pulse=Pulse(tmp_path),
    ) as recorder:
        recorder.on_progress(Progress("training_erm", 0, 1, 2, 3, 20, number, 0.5, 100.0))
        recorder.on_epoch(EpochRecord("training_erm", 0, 1, 2, number, 0.5, None, 0.1, 1.0))
        recorder.on_metrics([Metric("training_erm", 0, 1, "train", None, "loss", number, 10)])
        recorder.manifest({"lr": [0.1, number]})
    job = read_job(sessions, job_id)
    assert job.progress is not None
    assert (job.progress["loss"], job.progress["accuracy"]) == (None, 0.5)
    assert job.manifest == {"lr": [0.1, None]}
    assert read_events(sessions, job_id)[-1].data["loss"] is None
    with transaction(sessions) as session:
        assert session.scalars(select(MetricRow.value).where(MetricRow.job_id == job_id)).all() == [None]
