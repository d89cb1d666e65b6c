"""Driving workers from a test: start, wait, look, kill."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from persistence.database import transaction
from persistence.tables import Artifact, Checkpoint, Dataset, Event, Job, StoredObject
from persistence.transitions import FINISHED

UPLOAD_TTL = timedelta(hours=1)
ROOT = Path(__file__).parents[2]
SLEEPER = "import os, signal, sys, time; from worker import lifeline; told = lifeline.receive()\n"
"""The beginning of a program that a test puts in the place of an intake child."""

T = TypeVar("T")


class Worker:
    """A Celery worker process."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(argv, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)

    def wait_ready(self) -> None:
        """Until it takes tasks."""
        wait_until(lambda: " ready." in self.log.read_text(), 30, lambda: self.log.read_text()[-3000:])

    def stop(self, seconds: float = 30.0) -> int:
        """Warm shutdown; returns the exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()


def wait_until(
    condition: Callable[[], T | None], seconds: float = 30.0, explain: Callable[[], object] = lambda: ""
) -> T:
    """The condition's first true value."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {explain()}"
        time.sleep(0.02)
    return found


def read_job(sessions: sessionmaker[Session], job_id: uuid.UUID) -> Job:
    with transaction(sessions) as session:
        return session.get_one(Job, job_id)


def read_events(sessions: sessionmaker[Session], job_id: uuid.UUID) -> list[Event]:
    with transaction(sessions) as session:
        return list(session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.seq)))


def event_types(sessions: sessionmaker[Session], job_id: uuid.UUID) -> list[str]:
    return [event.type for event in read_events(sessions, job_id)]


def read_artifacts(sessions: sessionmaker[Session], job_id: uuid.UUID) -> dict[str, str]:
    """Name → SHA-256."""
    with transaction(sessions) as session:
        return {
            artifact.name: artifact.sha256
            for artifact in session.scalars(select(Artifact).where(Artifact.job_id == job_id))
        }


def wait_finished(sessions: sessionmaker[Session], job_id: uuid.UUID, seconds: float = 60.0) -> Job:
    wait_until(lambda: read_job(sessions, job_id).status in FINISHED, seconds, lambda: event_types(sessions, job_id))
    return read_job(sessions, job_id)


def wait_event(sessions: sessionmaker[Session], job_id: uuid.UUID, type_: str, count: int = 1) -> None:
    wait_until(lambda: event_types(sessions, job_id).count(type_) >= count, 60, lambda: event_types(sessions, job_id))


def its_time_has_come(sessions: sessionmaker[Session], job_id: uuid.UUID) -> None:
    """A job that was put off may be tried again."""
    with transaction(sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(not_before=func.now()))


def leftovers(home: Path) -> list[Path]:
    """What is still in the working folders."""
    return [path for path in (home / "work").rglob("*") if path.name != ".lock"]


def read_dataset(sessions: sessionmaker[Session], dataset_id: uuid.UUID) -> Dataset:
    with transaction(sessions) as session:
        return session.get_one(Dataset, dataset_id)


def read_checkpoint(sessions: sessionmaker[Session], checkpoint_id: uuid.UUID) -> Checkpoint:
    with transaction(sessions) as session:
        return session.get_one(Checkpoint, checkpoint_id)


def count_objects(sessions: sessionmaker[Session]) -> int:
    with transaction(sessions) as session:
        return session.scalar(select(func.count()).select_from(StoredObject)) or 0
