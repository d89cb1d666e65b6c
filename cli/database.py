"""The data folder's PostgreSQL and Redis: embedded ones, or those that the environment names."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cli.errors import ServicesError
from cli.home import HOME_VARIABLE, Home, RunningServices
from cli.service_process import rotate, tail

DATABASE_VARIABLE = "MASKTUNE_DATABASE_URL"
REDIS_VARIABLE = "MASKTUNE_REDIS_URL"

_LOCK_PATIENCE_SECONDS = 1.0
_MIGRATION_TIMEOUT_SECONDS = 300


def environment(home: Home, **urls: str) -> dict[str, str]:
    """The environment of a service over this data folder."""
    return {**os.environ, HOME_VARIABLE: str(home.path), "PYTHONUNBUFFERED": "1", **urls}


def try_lock(home: Home) -> IO[bytes] | None:
    """Become the one process that runs services over this data folder; None when another one does.

    The lock lasts until the returned file is closed or this process dies, however it dies.
    """
    home.path.mkdir(parents=True, exist_ok=True)
    file = home.lock.open("ab")
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                return None
            time.sleep(0.05)
        else:
            return file


def _is_locked(home: Home) -> bool:
    if not home.lock.exists():
        return False
    with home.lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def running_services(home: Home) -> RunningServices | None:
    """Services that run over this data folder right now, started by another `masktune`."""
    return home.read_services() if _is_locked(home) else None


def services_are_starting(home: Home) -> bool:
    """Whether another `masktune` has this data folder but does not serve yet, or not any more."""
    return _is_locked(home) and home.read_services() is None


def run_module(arguments: Sequence[str], env: Mapping[str, str], *, log: Path | None = None) -> str:
    """Run `python -m …` to its end and return what it printed. Raises `ServicesError` with its last words."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MIGRATION_TIMEOUT_SECONDS,
        check=False,
    )
    if log is not None:
        rotate(log)
        with log.open("a", encoding="utf-8") as file:
            file.write(done.stdout + done.stderr)
    if done.returncode != 0:
        last = tail(log) if log else "\n".join(f"  {line}" for line in (done.stderr or done.stdout).splitlines()[-15:])
        raise ServicesError(f"python -m {' '.join(arguments[:2])} failed", log_tail=last)
    return done.stdout


def migrate(home: Home, env: Mapping[str, str]) -> None:
    """Bring the database's tables to this version."""
    run_module(["migrations", "upgrade"], env, log=home.logs / "migrations.log")


@contextmanager
def database(home: Home) -> Iterator[dict[str, str]]:
    """An environment in which the data folder's database answers: the environment's own one, that of the running
    services, or an embedded PostgreSQL started for the time of the block."""
    if os.environ.get(DATABASE_VARIABLE):
        yield _with_database(home, os.environ[DATABASE_VARIABLE])
        return
    running = running_services(home)
    if running is not None:
        yield _with_database(home, running.database_url)
        return
    lock = try_lock(home)
    if lock is None:
        raise ServicesError(f"services over {home.path} are starting or stopping; try again in a moment")
    from cli.embedded import EmbeddedPostgres

    with lock:
        postgres = EmbeddedPostgres(home.path)
        try:
            env = _with_database(home, postgres.start())
            migrate(home, env)
            yield env
        finally:
            postgres.stop()


def _with_database(home: Home, url: str) -> dict[str, str]:
    """Settings want a broker's address as well, though nothing is sent to it here."""
    env = environment(home, **{DATABASE_VARIABLE: url})
    env.setdefault(REDIS_VARIABLE, "redis+socket:///dev/null")
    return env
