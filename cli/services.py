"""The local service: PostgreSQL, Redis, API, three workers and beat over one data folder."""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from cli.api_key import ensure_key, login_address
from cli.database import DATABASE_VARIABLE, REDIS_VARIABLE, environment, migrate, running_services, try_lock
from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from cli.embedded.errors import EmbeddedError
from cli.errors import ServicesError
from cli.guard import Guard
from cli.home import Home, RunningServices
from cli.service_process import ServiceProcess
from cli.signals import StopSignals

HOST = "127.0.0.1"

GRACE_VARIABLE = "MASKTUNE_SHUTDOWN_GRACE_SECONDS"
GRACE_SECONDS = 30.0
"""The setting's default: what a trainer gets to write its resume point."""

_READY_SECONDS = 60.0
_SETTLE_SECONDS = 5.0  # to hand the job back, when its trainer has ended
_API_STOP_SECONDS = 8.0
_RESTARTS_PER_MINUTE = 5


class LocalServices:
    """Starts everything on entering, stops it in order on leaving.

    Raises `ServicesError` when the data folder already has services, the port is taken, or a service does not come up.
    """

    def __init__(
        self,
        home: Home,
        *,
        command: Literal["up", "demo"],
        signals: StopSignals,
        port: int | None = None,
        status: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.home = home
        self.port = port
        self._command = command
        self.url = ""
        self.api_key = ""
        self._signals = signals
        self._status = status
        self._stack = ExitStack()
        self._processes: list[ServiceProcess] = []
        self._stores: dict[str, EmbeddedPostgres | EmbeddedRedis] = {}
        self._restarts: dict[str, list[float]] = defaultdict(list)
        self._database_url = ""
        self._env: dict[str, str] = {}
        self._guard: Guard | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            with self._signals.shielded():
                self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._signals.shielded():
            self._status("stopping")
            self._stack.close()

    def check(self) -> None:
        """Raises `ServicesError` with the last log lines when a service has ended by itself."""
        for process in self._processes:
            process.require_running()
        for name, store in self._stores.items():
            if store.exit_code is not None:
                raise ServicesError(f"{name} ended with code {store.exit_code}; its log is in {self.home.logs}")

    def login_address(self) -> str:
        """A fresh address that logs one browser in, once, within 15 minutes."""
        return login_address(self._env, self.url)

    def restart_ended(self) -> list[str]:
        """Start again what has ended by itself, and say what that was. Raises once one of them ends too often."""
        messages = [*self._revive_stores(), *self._restart_processes()]
        if messages:
            self._publish()
        return messages

    def _revive_stores(self) -> Iterator[str]:
        for name, store in self._stores.items():
            code = store.exit_code
            if code is None:
                continue
            self._count_restart(name)
            try:
                with self._signals.shielded():
                    store.revive()
            except EmbeddedError as error:
                yield f"{name} ended with code {code} and could not be started again: {error}"
            else:
                yield f"{name} ended with code {code} and was started again"

    def _restart_processes(self) -> Iterator[str]:
        for process in self._processes:
            code = process.exit_code
            if code is not None:
                self._count_restart(process.name)
                self._launch(process)
                yield f"the {process.name} ended with code {code} and was started again"

    def _count_restart(self, name: str) -> None:
        now = time.monotonic()
        recent = self._restarts[name] = [at for at in self._restarts[name] if now - at < 60.0] + [now]
        if len(recent) > _RESTARTS_PER_MINUTE:
            self.check()

    def _start(self) -> None:
        lock = try_lock(self.home)
        if lock is None:
            running = running_services(self.home)
            where = f" at {running.url} (masktune {running.command}, process {running.pid})" if running else ""
            raise ServicesError(
                f"services over {self.home.path} are already running{where}; stop them first, "
                "or set MASKTUNE_HOME to another folder"
            )
        self._stack.enter_context(lock)
        port = free_port() if self.port is None else self.port
        require_free(port)
        for folder in (self.home.logs, self.home.path / "run"):
            folder.mkdir(parents=True, exist_ok=True)
        patience = grace_seconds(os.environ) + _SETTLE_SECONDS
        self._guard = Guard(self.home.path, patience)
        self._stack.callback(self._guard.dismiss)
        env = environment(self.home, **self._start_stores())
        self._env = env
        self._database_url = env[DATABASE_VARIABLE]
        self._status("applying the migrations")
        migrate(self.home, env)
        self._status("starting the API and the workers")
        self.url = f"http://{HOST}:{port}"
        self._processes = self._plan(env, port)
        # Callbacks run last in, first out: workers end before the API, the API before Redis and PostgreSQL.
        self._stack.callback(_stop, self._processes[:1], _API_STOP_SECONDS)
        self._stack.callback(_stop, self._processes[1:], patience)
        for process in self._processes:
            self._launch(process)
        self._stack.callback(self.home.services.unlink, missing_ok=True)
        self.api_key = ensure_key(self.home, env, self._accepts)
        self._publish()

    def _launch(self, process: ServiceProcess) -> None:
        with self._signals.shielded():
            process.start()
        if self._guard:
            self._guard.watch(process.pid)

    def _start_stores(self) -> dict[str, str]:
        """Embedded PostgreSQL and Redis, each only where the environment names no other."""
        urls: dict[str, str] = {}
        embedded: tuple[tuple[str, str, Any], ...] = (
            ("PostgreSQL", DATABASE_VARIABLE, EmbeddedPostgres),
            ("Redis", REDIS_VARIABLE, EmbeddedRedis),
        )
        for name, variable, make in embedded:
            if os.environ.get(variable):
                urls[variable] = os.environ[variable]
                continue
            self._status(f"starting {name}")
            with self._signals.shielded():
                store = make(self.home.path)
                self._stack.callback(store.stop)
                urls[variable] = store.start()
                self._stores[name] = store
        return urls

    def _plan(self, env: dict[str, str], port: int) -> list[ServiceProcess]:
        """The API first, then the workers."""
        api = ["-m", "uvicorn", "api.main:create_app", "--factory", "--host", HOST, "--port", str(port)]
        # The service writes a line for each request itself; the server's own would show the tokens of login addresses.
        api += ["--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "3"]
        celery = ["-m", "celery", "-A", "worker.app"]
        worker = [*celery, "worker", "-P", "threads", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
        folder, logs = self.home.path, self.home.logs
        planned = [ServiceProcess("API", api, env, folder, logs / "api.log")]
        for name, command, log in (
            ("job worker", [*worker, "-Q", "jobs", "-n", "jobs@%h"], "worker"),
            ("intake worker", [*worker, "-Q", "intake", "-c", "2", "-n", "intake@%h"], "intake"),
            # Apart from intake, so that no upload keeps it from sweeping; beat apart, so that its end is noticed.
            ("control worker", [*worker, "-Q", "control", "-c", "4", "-n", "control@%h"], "control"),
            ("beat", [*celery, "beat", "--loglevel", "INFO"], "beat"),
        ):
            pid_file = folder / "run" / f"{log}.pid"  # Celery writes it when its start has succeeded
            planned.append(
                ServiceProcess(name, [*command, "--pidfile", str(pid_file)], env, folder, logs / f"{log}.log", pid_file)
            )
        return planned

    def _accepts(self, key: str) -> bool:
        """Wait until the API is ready, then ask it whether it knows this key."""
        self._wait_ready()
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.get(f"{self.url}/v1/jobs", params={"limit": 1}, headers=headers, timeout=10.0).status_code == 200

    def _wait_ready(self) -> None:
        """Until the API says that it is ready and every worker has started."""
        deadline = time.monotonic() + _READY_SECONDS
        missing = "the API does not answer"
        while time.monotonic() < deadline:
            self.check()
            missing = self._missing()
            if not missing:
                return
            time.sleep(0.1)
        raise ServicesError(f"after {_READY_SECONDS:.0f} s {missing}; the logs are in {self.home.logs}")

    def _missing(self) -> str:
        """What is not ready yet, in words; empty when everything is."""
        for process in self._processes:
            if not process.has_started:
                return f"the {process.name} has not started"
        try:
            response = httpx.get(f"{self.url}/readyz", timeout=5.0)
        except httpx.TransportError:
            return "the API does not answer"
        return "" if response.status_code == 200 else f"the API is not ready: {response.text[:500]}"

    def _publish(self) -> None:
        pids = {process.name: process.pid for process in self._processes}
        self.home.write_services(RunningServices(self.url, os.getpid(), self._database_url, self._command, pids))


def _stop(processes: list[ServiceProcess], seconds: float) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + seconds
    for process in processes:
        process.wait(max(0.1, deadline - time.monotonic()))


def grace_seconds(env: Mapping[str, str]) -> float:
    """What a trainer gets to write its resume point. Raises `ServicesError` for what is no number above 0."""
    text = env.get(GRACE_VARIABLE, "")
    try:
        seconds = float(text) if text else GRACE_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise ServicesError(f"{GRACE_VARIABLE} is {text!r}: give a number of seconds above 0, or leave it out")
    return seconds


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free(port: int) -> None:
    """Raises `ServicesError` when something already listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServicesError(
                f"port {port} on {HOST} cannot be used ({error.strerror}); choose another one with --port"
            ) from error
