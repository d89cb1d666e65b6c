"""A small real data set, jobs on it, and workers: inside the test or as real Celery processes."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

from cli.embedded import EmbeddedPostgres
from masktune_core import pipeline
from masktune_core.config import JobConfig, resolve_config
from masktune_core.data.dataset import Dataset
from masktune_core.intake import IntakeReport, normalise
from masktune_core.makers.biased_mnist import make_biased_mnist
from persistence import checkpoints, datasets, jobs, objects, tenants, uploads
from persistence.database import transaction
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.tables import Upload
from tests.masktune_core.archives import two_classes, zip_bytes
from tests.worker.driving import UPLOAD_TTL, Worker
from worker.context import Context, make_context
from worker.intake_dataset import image_rows

JobMaker = Callable[..., uuid.UUID]
Uploader = Callable[[Path], Upload]


@pytest.fixture(scope="session")
def raw_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few hundred real digits, as a user would upload them."""
    return make_biased_mnist(tmp_path_factory.mktemp("raw") / "digits.zip", train=600, val=100, test=100)


@pytest.fixture(scope="session")
def normalised(raw_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IntakeReport]:
    """The same, normalised once for all tests."""
    path = tmp_path_factory.mktemp("normalised") / "data.zip"
    return path, normalise(raw_archive, path)


@pytest.fixture(scope="session")
def alone(normalised: tuple[Path, IntakeReport], tmp_path_factory: pytest.TempPathFactory) -> pipeline.Result:
    """What the core alone makes of `small_config()`, in this process and undisturbed."""
    with Dataset.open(normalised[0]) as dataset:
        return pipeline.run(small_config(), dataset, work_dir=tmp_path_factory.mktemp("alone"))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Everything that waits in production waits a fraction of a second here."""
    quick = {"lease_seconds": 2.0, "heartbeat_seconds": 0.2, "sweep_seconds": 0.5, "disk_headroom_bytes": 0}
    return settings.model_copy(update=quick | {"devices": "cpu", "standby_trainers": False})


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The settings as environment variables, for children of this process and for workers."""
    secrets = {
        "MASKTUNE_DATABASE_URL": settings.database_url.get_secret_value(),
        "MASKTUNE_REDIS_URL": settings.redis_url.get_secret_value(),
    }
    others = settings.model_dump(exclude={"database_url", "redis_url"})
    values = secrets | {f"MASKTUNE_{name.upper()}": str(value) for name, value in others.items()}
    values |= {"OMP_NUM_THREADS": "1"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **values}


@pytest.fixture
def context(settings: Settings, environment: dict[str, str]) -> Iterator[Context]:
    """A worker's insides, without Celery."""
    made = make_context(settings)
    yield made
    made.sessions.kw["bind"].dispose()


@pytest.fixture
def tenant(sessions: sessionmaker[Session]) -> uuid.UUID:
    with transaction(sessions) as session:
        return tenants.get_or_create(session, "tests").id


@pytest.fixture
def upload(sessions: sessionmaker[Session], store: ObjectStore, tenant: uuid.UUID) -> Callable[[Path], Upload]:
    """Put a file where the API would have put it."""

    def put(path: Path) -> Upload:
        stored = store.put_file(path)
        with transaction(sessions) as session:
            objects.register(session, stored.sha256, stored.size)
            return uploads.create(session, tenant, path.name, stored.sha256, stored.size, UPLOAD_TTL)

    return put


@pytest.fixture
def new_dataset(sessions: sessionmaker[Session], tenant: uuid.UUID, upload: Uploader) -> Callable[[Path], uuid.UUID]:
    def create(path: Path) -> uuid.UUID:
        received = upload(path)
        with transaction(sessions) as session:
            return datasets.create(session, tenant, "test", received).id

    return create


@pytest.fixture
def new_checkpoint(sessions: sessionmaker[Session], tenant: uuid.UUID, upload: Uploader) -> Callable[[Path], uuid.UUID]:
    def create(path: Path) -> uuid.UUID:
        received = upload(path)
        with transaction(sessions) as session:
            return checkpoints.create(session, tenant, "test", received, architecture="small_cnn", num_classes=2).id

    return create


@pytest.fixture
def tiny_archive(tmp_path: Path) -> Path:
    """A dozen images, for checks of which the images are not the point."""
    path = tmp_path / "tiny.zip"
    path.write_bytes(zip_bytes(two_classes()))
    return path


@pytest.fixture
def dataset_id(
    sessions: sessionmaker[Session],
    store: ObjectStore,
    tenant: uuid.UUID,
    upload: Callable[[Path], Upload],
    raw_archive: Path,
    normalised: tuple[Path, IntakeReport],
) -> uuid.UUID:
    """A data set that is ready, without having gone through a worker."""
    path, report = normalised
    source, stored = upload(raw_archive), store.put_file(path)
    with transaction(sessions) as session:
        objects.register(session, stored.sha256, stored.size)
        dataset = datasets.create(session, tenant, "digits", source)
        claim = datasets.claim(session, dataset.id, "test", 60.0)
        assert claim is not None
        datasets.finish_ready(
            session,
            dataset.id,
            claim.token,
            archive_sha256=stored.sha256,
            size=stored.size,
            images=image_rows(report.index),
            layout=report.index.layout,
            classes=report.index.classes,
            attributes=[{"name": name, "values": list(values)} for name, values in report.index.attributes],
            summary=report.summary,
        )
        return dataset.id


def small_config(**changes: Any) -> JobConfig:
    """Two short ERM epochs and one of finetuning; `changes` as in a request body."""
    return resolve_config("biased_mnist", {"erm": {"epochs": 2}} | changes)


@pytest.fixture
def make_job(sessions: sessionmaker[Session], tenant: uuid.UUID, dataset_id: uuid.UUID) -> JobMaker:
    """Commit a queued job without telling anybody, as the API does while Redis is away."""

    def make(checkpoint_id: uuid.UUID | None = None, **changes: Any) -> uuid.UUID:
        with transaction(sessions) as session:
            job, _ = jobs.create(
                session,
                tenant_id=tenant,
                dataset_id=dataset_id,
                checkpoint_id=checkpoint_id,
                name="test",
                config=small_config(**changes),
            )
            return job.id

    return make


@pytest.fixture
def break_database(database_url: str, postgres: EmbeddedPostgres) -> Iterator[Callable[[float], None]]:
    """Have the test's database refuse and drop every connection, and come back after so many seconds."""
    url = make_url(database_url)
    timers: list[threading.Timer] = []

    def allow(allowed: bool) -> None:
        with psycopg.connect(
            host=str(url.query["host"]), user=url.username, dbname="postgres", autocommit=True
        ) as connection:
            name = sql.Identifier(url.database or "")
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(allowed)))
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [url.database]
            )

    def outage(seconds: float) -> None:
        allow(False)
        timers.append(threading.Timer(seconds, allow, [True]))
        timers[-1].start()

    yield outage
    for timer in timers:
        timer.join()


@pytest.fixture
def start_worker(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start real Celery workers; those that a test leaves running are killed after it."""
    started: list[Worker] = []

    def start(*options: str) -> Worker:
        worker = Worker(
            [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-P", "threads", *options],
            environment,
            tmp_path / f"worker-{len(started)}.log",
        )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
