"""The whole service as processes of its own, each of which can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
from sqlalchemy.orm import Session, sessionmaker

from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from cli.services import free_port
from migrations import runner
from persistence import api_keys, tenants
from persistence.database import make_engine, session_factory, transaction
from persistence.settings import Settings
from persistence.store import ObjectStore, store_of
from worker.lifeline import AT_WORK

ROOT = Path(__file__).parents[2]
_QUICK = {
    "MASKTUNE_LEASE_SECONDS": "3",
    "MASKTUNE_HEARTBEAT_SECONDS": "0.3",
    "MASKTUNE_SWEEP_SECONDS": "0.5",
    "MASKTUNE_DISK_HEADROOM_BYTES": "0",
    "MASKTUNE_DEVICES": "cpu",
    "OMP_NUM_THREADS": "1",
}
"""Everything that waits in production waits a fraction here."""
_TOLD_LINES = 40


class Process:
    """One process of the service. `start` also starts it again."""

    def __init__(
        self, name: str, arguments: list[str], environment: Callable[[], Mapping[str, str]], log: Path
    ) -> None:
        self.name, self.arguments, self.log = name, arguments, log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                env={**os.environ, **self._environment()},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def thaw(self) -> None:
        """SIGCONT; does nothing to a process that runs or is gone."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self, *, wait: bool = True) -> None:
        """As a power cut would: this process alone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            if wait:
                self._process.wait()

    def freeze(self) -> list[psutil.Process]:
        """SIGSTOP to it and everything that it started, as when a machine is suspended; returns all of them."""
        frozen = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        for process in frozen:
            process.suspend()
        return frozen

    def is_ready(self) -> bool:
        """Whether a Celery worker takes tasks; beat takes none."""
        return self.name == "beat" or " ready." in self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self, seconds: float = 60.0) -> int:
        """In order, as a deployment would; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(seconds)


class Stack:
    """PostgreSQL, Redis, the API, a worker for each queue, and beat, over one data folder."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home.resolve()
        self._settings = _QUICK | settings
        self._stack = ExitStack()
        self.postgres = EmbeddedPostgres(self.home / "servers")
        self.redis = EmbeddedRedis(self.home / "servers")
        self.port = free_port()
        logs = self.home / "logs"
        beat = ["celery", "-A", "worker.app", "beat", "--pidfile="]
        celery = ["celery", "-A", "worker.app", "worker", "-P", "threads", "--without-gossip", "--without-mingle"]
        api = ["uvicorn", "api.main:create_app", "--factory", "--host", "127.0.0.1", "--port", str(self.port)]
        self.api = Process("api", [*api, "--timeout-graceful-shutdown", "3"], self.environment, logs / "api.log")
        self.worker = Process("worker", [*celery, "-Q", "jobs", "-n", "jobs@%h"], self.environment, logs / "worker.log")
        self.intake = self._worker("intake", celery, "-c", "2")
        self.control = self._worker("control", celery, "-c", "4")
        self.beat = Process("beat", beat, self.environment, logs / "beat.log")
        self.processes = [self.api, self.worker, self.intake, self.control, self.beat]

    def _worker(self, name: str, celery: list[str], *options: str) -> Process:
        arguments = [*celery, "-Q", name, "-n", f"{name}@%h", *options]
        return Process(name, arguments, self.environment, self.home / "logs" / f"{name}.log")

    def add_worker(self, name: str) -> Process:
        """Start one more job worker as if on another machine: with a data folder, and so a cache, of its own."""
        home = self.home / name
        home.mkdir()
        arguments = [argument.replace("jobs@", f"{name}@") for argument in self.worker.arguments]
        process = Process(
            name, arguments, lambda: {**self.environment(), "MASKTUNE_HOME": str(home)}, self.home / f"logs/{name}.log"
        )
        process.start()
        self.processes.append(process)
        return process

    def environment(self) -> dict[str, str]:
        return {
            "MASKTUNE_HOME": str(self.home),
            "MASKTUNE_STORAGE_URL": (self.home / "objects").as_uri(),
            "MASKTUNE_DATABASE_URL": self.postgres.url,
            "MASKTUNE_REDIS_URL": self.redis.url,
            **self._settings,
        }

    @property
    def settings(self) -> Settings:
        values = {name.removeprefix("MASKTUNE_").lower(): value for name, value in self.environment().items()}
        return Settings.model_validate(values)

    @property
    def store(self) -> ObjectStore:
        return store_of(self.settings)

    def __enter__(self) -> Self:
        for folder in ("servers", "logs"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        with self._stack:
            self._stack.callback(self._end)
            self.postgres.start()
            self.redis.start()
            runner.upgrade(self.postgres.url)
            self.sessions: sessionmaker[Session] = session_factory(make_engine(self.postgres.url))
            with transaction(self.sessions) as session:
                tenant = tenants.get_or_create(session, "chaos")
                self.tenant_id = tenant.id
                _, self.key = api_keys.create(session, tenant.id, "chaos")
            for process in self.processes:
                process.start()
            self.client = self._stack.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{self.port}",
                    headers={"Authorization": f"Bearer {self.key}"},
                    timeout=10.0,
                )
            )
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exc is not None:
            for process in self.processes:
                said = process.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TOLD_LINES:]
                sys.stderr.write(f"--- the end of {process.log.name}\n" + "\n".join(said) + "\n")
        self._stack.close()

    def _end(self) -> None:
        for process in self.processes:
            process.thaw()
            process.kill()
        if hasattr(self, "sessions"):
            self.sessions.kw["bind"].dispose()
        self.redis.stop()
        self.postgres.stop()

    def trainer(self, worker: Process | None = None) -> psutil.Process | None:
        """The trainer child of a job worker that is at work, if there is one now."""
        try:
            children = psutil.Process((worker or self.worker).pid).children()
            return next((child for child in children if child.name() == AT_WORK), None)
        except psutil.Error:
            return None

    def crash_postgres(self) -> None:
        """SIGKILL to the server's first process; the others notice and end."""
        kill_server(self.home / "servers" / "postgres" / "postmaster.pid")

    def crash_redis(self) -> None:
        """SIGKILL; everything that it held is lost."""
        kill_server(self.home / "servers" / "run" / "redis" / "redis.pid")

    def crash_machine(self) -> None:
        """Everything at once, as a power cut would."""
        for process in self.processes:
            process.kill(wait=False)
        self.crash_redis()
        self.crash_postgres()

    def restart_machine(self) -> None:
        """Servers first, as a machine that comes up again would."""
        self.restart_postgres()
        self.restart_redis()
        for process in self.processes:
            process.kill()
            process.start()

    def restart_postgres(self) -> None:
        self.postgres.stop()
        self.postgres.start()

    def restart_redis(self) -> None:
        self.redis.stop()
        self.redis.start()


def kill_server(pid_file: Path) -> None:
    os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Until the condition holds; errors of services that are away count as no. Raises `AssertionError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
