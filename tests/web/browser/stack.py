"""A whole service for browsers: API on a socket, one worker, small real data."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from api.main import create_app
from persistence import api_keys, login_links, tenants
from persistence.database import make_engine, session_factory, transaction
from persistence.settings import Settings
from tests.worker.driving import Worker, wait_finished

_WORKER = ("-Q", "jobs,intake,control", "-c", "3", "-B", "--without-gossip", "--without-mingle")


class Stack:
    """The running service, and a client with a key of its tenant."""

    def __init__(self, settings: Settings, folder: Path, sessions: sessionmaker[Session]) -> None:
        self.settings = settings
        self.folder = folder
        self.sessions = sessions
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tenant = "browser tests"
        with transaction(sessions) as session:
            self.tenant_id = tenants.get_or_create(session, self.tenant).id
            self.key_row, self.key = api_keys.create(session, self.tenant_id, "browser tests")
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30)
        self.worker: Worker | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._end_streams: Callable[[], None] = lambda: None

    def start_api(self) -> None:
        """Serve on the stack's port."""
        app = create_app(self.settings)
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_config=None, timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the API did not start"
            time.sleep(0.01)
        self._end_streams = app.state.services.hub.close

    def stop_api(self) -> None:
        """Stop serving; whoever follows a job loses the connection."""
        assert self._server is not None
        assert self._thread is not None
        self._end_streams()  # in a thread there is no signal, which would do this
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the API did not stop"

    def login_link(self) -> str:
        """A fresh one-click address."""
        with transaction(self.sessions) as session:
            _, token = login_links.create(session, self.tenant_id)
        return f"{self.url}/login/link?token={token}"

    def upload(self, archive: Path, name: str, status: str = "ready") -> uuid.UUID:
        """A data set of this archive, once its check has come to that."""
        sent = self.client.put(f"/v1/uploads/{archive.name}", content=archive.read_bytes()).json()
        made = self.client.post("/v1/datasets", json={"name": name, "upload_id": sent["id"]}).json()
        deadline = time.monotonic() + 60
        while (found := self.client.get(f"/v1/datasets/{made['id']}").json())["status"] == "validating":
            assert time.monotonic() < deadline, "the data set was not checked"
            time.sleep(0.1)
        assert found["status"] == status, found
        return uuid.UUID(made["id"])

    def submit(self, dataset_id: uuid.UUID, **body: object) -> uuid.UUID:
        """A job on the data set, queued."""
        answer = self.client.post("/v1/jobs", json={"dataset_id": str(dataset_id), "preset": "biased_mnist", **body})
        assert answer.status_code == 201, answer.text
        return uuid.UUID(answer.json()["id"])

    def wait(self, job_id: uuid.UUID) -> None:
        """Until the job has succeeded."""
        job = wait_finished(self.sessions, job_id, 120)
        assert job.status == "succeeded", job.error

    def set_status(self, job_id: uuid.UUID, status: str) -> None:
        """Have the database say that the job is in this state."""
        with transaction(self.sessions) as session:
            session.execute(text("update jobs set status = :status where id = :id"), {"status": status, "id": job_id})

    @contextmanager
    def nobody_working(self) -> Iterator[None]:
        """The worker stands still: what is queued stays queued."""
        assert self.worker is not None
        self.worker.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.worker.process.send_signal(signal.SIGCONT)

    def twin(self, job_id: uuid.UUID, **changes: str) -> uuid.UUID:
        """A second finished job with the same results but another seed, without running it; `changes` are columns."""
        copy = uuid.uuid4()
        with transaction(self.sessions) as session:
            _copy_row(session, "jobs", "id", job_id, copy, idempotency_key="null")
            for column, value in ({"name": "the twin"} | changes).items():
                cast = "jsonb" if column == "error" else "varchar"
                session.execute(
                    text(f"update jobs set {column} = cast(:value as {cast}) where id = :id"),
                    {"value": value, "id": copy},
                )
            session.execute(
                text("update jobs set config = jsonb_set(config, '{seed}', '1') where id = :id"), {"id": copy}
            )
            for table in (
                "samples",
                "sample_counts",
                "insights",
                "artifacts",
                "metrics",
                "events",
                "stage_transitions",
            ):
                _copy_row(session, table, "job_id", job_id, copy)
            # Let it see some images differently.
            session.execute(
                text("update samples set predicted_after = 1 - predicted_after where job_id = :id and index % 50 = 0"),
                {"id": copy},
            )
        return copy

    def under_way(self, job_id: uuid.UUID, name: str) -> uuid.UUID:
        """A copy of a finished job as it was in its second epoch; nothing works on it, and no lease of it runs out."""
        copy = self.twin(job_id, status="running", name=name)
        progress = {"stage": "training_erm", "iteration": 0, "epoch": 2, "epochs": 3, "step": 20, "steps": 75}
        statements = (
            "delete from events where job_id = :id and seq > (select min(seq) from events"
            " where job_id = :id and type = 'job.epoch')",
            "delete from stage_transitions where job_id = :id and stage not in ('preparing', 'training_erm')",
            "delete from metrics where job_id = :id and (stage <> 'training_erm' or epoch > 1)",
            "delete from artifacts where job_id = :id",
            "delete from samples where job_id = :id",
            "delete from sample_counts where job_id = :id",
            "delete from insights where job_id = :id",
            "update jobs set event_seq = (select max(seq) from events where job_id = :id), stage = 'training_erm',"
            " finished_at = null, progress = cast(:progress as jsonb) where id = :id",
        )
        with transaction(self.sessions) as session:
            for statement in statements:
                session.execute(text(statement), {"id": copy, "progress": json.dumps(progress | {"loss": 0.21})})
        return copy

    def without_dataset(self, job_id: uuid.UUID, name: str) -> uuid.UUID:
        """A copy of a finished job whose data set was deleted since."""
        copy = self.twin(job_id, name=name)
        with transaction(self.sessions) as session:
            session.execute(text("update jobs set dataset_id = null where id = :id"), {"id": copy})
        return copy

    def change_manifest(self, job_id: uuid.UUID, **values: str) -> None:
        """Let a job have run on something else."""
        with transaction(self.sessions) as session:
            session.execute(
                text("update jobs set manifest = manifest || cast(:values as jsonb) where id = :id"),
                {"values": json.dumps(values), "id": job_id},
            )


@contextmanager
def running(database_url: str, redis_url: str, folder: Path) -> Iterator[Stack]:
    """The service, as long as the block lasts."""
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "redis_url": redis_url,
            "home": folder / "home",
            "devices": "cpu",
            "lease_seconds": 5.0,
            "heartbeat_seconds": 0.2,
            "sweep_seconds": 0.5,
            "disk_headroom_bytes": 0,
            "log_level": "WARNING",
        }
    )
    others = settings.model_dump(exclude={"database_url", "redis_url"})
    environment = {
        **os.environ,
        **{f"MASKTUNE_{name.upper()}": str(value) for name, value in others.items()},
        "MASKTUNE_DATABASE_URL": database_url,
        "MASKTUNE_REDIS_URL": redis_url,
        "OMP_NUM_THREADS": "1",
    }
    engine = make_engine(database_url)
    stack = Stack(settings, folder, session_factory(engine))
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-P", "threads", *_WORKER]
    stack.worker = worker = Worker(command, environment, folder / "worker.log")
    try:
        stack.start_api()
        try:
            yield stack
        finally:
            stack.stop_api()
    finally:
        worker.kill()
        stack.client.close()
        engine.dispose()


def _copy_row(session: Session, table: str, key: str, old: uuid.UUID, new: uuid.UUID, **values: str) -> None:
    """Copy rows of a table under another key; columns that the database computes are left to it."""
    columns = session.scalars(
        text(
            "select column_name from information_schema.columns where table_name = :table"
            " and is_generated = 'NEVER' and not (table_name = 'metrics' and column_name = 'id')"
        ),
        {"table": table},
    ).all()
    chosen = {column: f'"{column}"' for column in columns} | {key: ":new"} | values
    names = ", ".join(f'"{column}"' for column in chosen)
    session.execute(
        text(f'insert into {table} ({names}) select {", ".join(chosen.values())} from {table} where "{key}" = :old'),
        {"new": new, "old": old},
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
