"""A job through the supervisor and the real trainer child."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from masktune_core import pipeline
from masktune_core.intake import IntakeReport
from persistence.database import transaction
from persistence.store import ObjectStore
from persistence.tables import Metric, Sample
from tests.worker.conftest import JobMaker
from tests.worker.driving import event_types, leftovers, read_artifacts, read_events, read_job
from worker.context import Context
from worker.supervisor import run_job


def test_a_job_ends_with_the_bits_that_the_core_alone_makes(
    context: Context,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    make_job: JobMaker,
    normalised: tuple[Path, IntakeReport],
    alone: pipeline.Result,
) -> None:
    job_id = make_job()
    run_job(context, job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.error, job.stage, job.attempt) == ("succeeded", None, "evaluating", 1)

    made = read_artifacts(sessions, job_id)
    for name in ("masktune.safetensors", "erm.safetensors"):
        bits = hashlib.sha256(alone.artifacts[name].read_bytes()).hexdigest()
        assert made[name] == bits
        assert store.exists(bits)

    assert leftovers(context.settings.home) == []
    types = event_types(sessions, job_id)
    assert types[:2] == ["job.queued", "job.started"]
    assert types[-1] == "job.succeeded"
    stages = [event.data["stage"] for event in read_events(sessions, job_id) if event.type == "job.stage"]
    assert stages == ["preparing", "training_erm", "masking", "finetuning", "evaluating"]
    with transaction(sessions) as session:
        accuracy = session.scalar(
            select(Metric.value).where(
                Metric.job_id == job_id,
                Metric.stage == "evaluating",
                Metric.iteration == 1,
                Metric.split == "test:biased",
                Metric.name == "accuracy",
                Metric.group.is_(None),
            )
        )
        assert accuracy == alone.masktune.splits["test:biased"].accuracy
        assert session.scalar(select(func.count()).where(Sample.job_id == job_id)) == len(normalised[1].index)
    assert job.manifest is not None
    assert job.progress is not None
