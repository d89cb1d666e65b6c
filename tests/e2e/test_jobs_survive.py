"""No job is lost and none is run twice, whatever dies: real Postgres, real Redis, real Celery workers."""

from __future__ import annotations

import hashlib
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker

from cli.embedded import EmbeddedRedis
from masktune_core import pipeline
from masktune_core.data.dataset import Dataset
from masktune_core.intake import IntakeReport
from persistence import resume_points
from persistence.database import transaction
from persistence.dispatch import Dispatcher
from persistence.settings import Settings
from tests.worker.conftest import JobMaker, small_config
from tests.worker.driving import (
    Worker,
    event_types,
    leftovers,
    read_artifacts,
    read_events,
    read_job,
    wait_event,
    wait_finished,
    wait_until,
)
from worker.lifeline import AT_WORK

LONG = {"erm": {"epochs": 30}}
EVERYTHING = ("-Q", "jobs,intake,control", "-c", "2", "-B")

Start = Callable[..., Worker]


@pytest.fixture(scope="module")
def undisturbed(normalised: tuple[Path, IntakeReport], tmp_path_factory: pytest.TempPathFactory) -> str:
    """SHA-256 of the checkpoint of a long job that nothing disturbs."""
    with Dataset.open(normalised[0]) as dataset:
        result = pipeline.run(small_config(**LONG), dataset, work_dir=tmp_path_factory.mktemp("undisturbed"))
    return hashlib.sha256(result.artifacts["masktune.safetensors"].read_bytes()).hexdigest()


def has_resume_point(sessions: sessionmaker[Session], job_id: uuid.UUID) -> bool:
    with transaction(sessions) as session:
        return len(resume_points.newest(session, job_id)) > 0


def test_a_job_outlives_a_killed_worker_a_killed_trainer_and_a_shutdown(
    start_worker: Start,
    settings: Settings,
    sessions: sessionmaker[Session],
    make_job: JobMaker,
    undisturbed: str,
) -> None:
    job_id = make_job(**LONG)
    first = start_worker(*EVERYTHING)
    wait_event(sessions, job_id, "job.epoch", 3)
    wait_until(lambda: has_resume_point(sessions, job_id))
    children = psutil.Process(first.process.pid).children(recursive=True)
    first.kill()
    wait_until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 5)
    assert read_job(sessions, job_id).status == "running", "nobody knows yet"

    second = start_worker(*EVERYTHING)
    wait_event(sessions, job_id, "job.resumed")
    (trainer,) = (child for child in psutil.Process(second.process.pid).children() if child.name() == AT_WORK)
    trainer.send_signal(signal.SIGKILL)
    wait_event(sessions, job_id, "job.resumed", 2)
    assert second.stop() == 0
    job = read_job(sessions, job_id)
    assert (job.status, job.attempt) == ("queued", 3), "handed back at once"

    start_worker(*EVERYTHING)
    job = wait_finished(sessions, job_id)
    assert (job.status, job.attempt) == ("succeeded", 4)
    assert read_artifacts(sessions, job_id)["masktune.safetensors"] == undisturbed
    reasons = [event.data["error"]["code"] for event in read_events(sessions, job_id) if event.type == "job.retrying"]
    assert reasons == ["worker_lost", "trainer_killed", "worker_shutdown"]
    wait_until(lambda: leftovers(settings.home) == [], 5)


@pytest.fixture
def own_redis(settings: Settings) -> Iterator[EmbeddedRedis]:
    """A Redis that this test may stop."""
    with tempfile.TemporaryDirectory(prefix="masktune-redis-") as folder:
        redis = EmbeddedRedis(Path(folder))
        yield redis
        redis.stop()


def test_a_job_committed_while_redis_is_down_runs_once_when_it_is_back(
    own_redis: EmbeddedRedis,
    settings: Settings,
    sessions: sessionmaker[Session],
    make_job: JobMaker,
    environment: dict[str, str],
    start_worker: Start,
) -> None:
    url = own_redis.start()
    environment["MASKTUNE_REDIS_URL"] = url
    dispatcher = Dispatcher(settings.model_copy(update={"redis_url": SecretStr(url)}))
    worker = start_worker(*EVERYTHING)
    worker.wait_ready()
    own_redis.stop()
    job_id = make_job()
    assert dispatcher.send("job", job_id) is False
    own_redis.start()
    wait_event(sessions, job_id, "job.started")
    # Deliveries of a job that already runs mean nothing.
    for _ in range(3):
        assert dispatcher.send("job", job_id)
    job = wait_finished(sessions, job_id)
    assert (job.status, job.attempt) == ("succeeded", 1)
    assert event_types(sessions, job_id).count("job.started") == 1
    assert worker.stop() == 0
