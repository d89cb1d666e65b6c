"""Many browsers that have one running job's page open, and how soon a page of a job is there."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import httpx
import psutil
import psycopg
from sqlalchemy.orm import Session, sessionmaker

from benchmarks._streams import all_open
from benchmarks.table import Row
from cli.embedded import EmbeddedPostgres
from migrations import runner
from persistence import browser_sessions, events, jobs
from persistence.database import make_engine, session_factory, transaction
from tests.fixtures.records import claim_job, make_job, make_tenant

PAGES, CORES, PAGE_MS = 200, 1.0, 250.0
_EVERY_SECONDS = 2.0
_EPOCH = {"stage": "training_erm", "iteration": 0, "epochs": 500, "loss": 0.1, "accuracy": 0.9, "seconds": 2.0}


def run(quick: bool) -> list[Row]:
    """200 pages of a job that reports progress all the time and an epoch every two seconds (`quick`: for 8 s, not 30).

    What each page does is what `job-live.js` does: it follows the events, and fetches the changing part after each. The
    API runs as a process of its own, and its CPU time alone is counted.
    """
    with tempfile.TemporaryDirectory(prefix="masktune-live-") as folder, _service(Path(folder)) as service:
        seconds = 8.0 if quick else 30.0
        cores, listeners, refreshes = asyncio.run(_watched(service, seconds))
        times = _page_times(service, 20 if quick else 100)
    note = f"{PAGES} pages for {seconds:.0f} s, {refreshes:,} parts fetched"
    return [
        Row("live job pages: cores of the API", cores, unit="cores", at_most=CORES, note=note),
        Row("live job pages: database listeners", float(listeners), at_most=1),
        Row(
            "job page, made by the server, p95",
            quantiles(times, n=20)[-1],
            unit="ms",
            at_most=PAGE_MS,
            note="with 200 epochs behind it; of the second that a page may take",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Service:
    url: str
    cookies: dict[str, str]
    process: psutil.Process
    sessions: sessionmaker[Session]
    database: str
    job: uuid.UUID
    token: uuid.UUID


@contextmanager
def _service(root: Path) -> Iterator[_Service]:
    """The API over a fresh database, and a running job that somebody looks at."""
    home = root / "home"
    home.mkdir()
    with EmbeddedPostgres(home) as postgres, (root / "api.log").open("wb") as log:
        runner.upgrade(postgres.url)
        engine = make_engine(postgres.url)
        sessions = session_factory(engine)
        with transaction(sessions) as session:
            tenant = make_tenant(session)
            job = make_job(session, tenant).id
            token = claim_job(session, job, lease_seconds=3600).token
            cookie = browser_sessions.create(session, tenant)[1]
        port = _free_port()
        environment = {
            **os.environ,
            "MASKTUNE_DATABASE_URL": postgres.url,
            "MASKTUNE_REDIS_URL": f"redis+socket://{root}/none.sock",  # nothing is sent to workers
            "MASKTUNE_HOME": str(home),
            "MASKTUNE_LOG_LEVEL": "WARNING",
            "MASKTUNE_RATE_LIMIT_REQUESTS": "0",
            "MASKTUNE_EVENT_STREAMS_PER_KEY": str(PAGES),
        }
        command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", str(port)]
        command += ["--no-access-log"]
        url = f"http://127.0.0.1:{port}"
        with subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
            try:
                _wait_until_alive(url)
                watched = psutil.Process(process.pid)
                yield _Service(url, {"masktune_session": cookie}, watched, sessions, postgres.url, job, token)
            finally:
                process.terminate()
                engine.dispose()


async def _watched(service: _Service, seconds: float) -> tuple[float, int, int]:
    refreshes = 0
    ready = asyncio.Semaphore(0)
    limits = httpx.Limits(max_connections=2 * PAGES + 10)
    async with httpx.AsyncClient(base_url=service.url, cookies=service.cookies, timeout=60, limits=limits) as client:

        async def page(number: int) -> None:
            nonlocal refreshes
            headers = {"Accept": "text/event-stream"}
            async with client.stream("GET", f"/v1/jobs/{service.job}/events", headers=headers) as stream:
                stream.raise_for_status()
                ready.release()
                async for line in stream.aiter_lines():
                    if line.startswith("id:"):
                        await asyncio.sleep(0.3 * number / PAGES)  # as pages spread themselves
                        answer = await client.get(f"/jobs/{service.job}/live", headers={"HX-Request": "true"})
                        answer.raise_for_status()
                        refreshes += 1

        pages = [asyncio.create_task(page(number)) for number in range(PAGES)]
        await all_open(ready, pages)
        await asyncio.sleep(3.0)  # the first parts are fetched
        refreshes = 0
        listeners = await asyncio.to_thread(_listeners, service.database)
        cpu, start, epoch = sum(service.process.cpu_times()[:2]), time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            epoch += 1
            for step in range(4):
                await asyncio.to_thread(_report, service, epoch, step)
                await asyncio.sleep(_EVERY_SECONDS / 4)
        cores = (sum(service.process.cpu_times()[:2]) - cpu) / (time.perf_counter() - start)
        for each in pages:
            each.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
    return cores, listeners, refreshes


def _report(service: _Service, epoch: int, step: int) -> None:
    """Progress; with the first step of an epoch, the event of the epoch before."""
    with transaction(service.sessions) as session:
        progress = {**_EPOCH, "epoch": epoch, "step": step, "steps": 4, "images_per_second": 1000.0}
        jobs.set_progress(session, service.job, service.token, progress)
        if step == 0:
            events.append(session, service.job, "job.epoch", {**_EPOCH, "epoch": epoch}, token=service.token)


def _page_times(service: _Service, rounds: int) -> list[float]:
    """Milliseconds of the whole page, each after an event, so that nothing is at hand."""
    with transaction(service.sessions) as session:
        for epoch in range(200):
            events.append(session, service.job, "job.epoch", {**_EPOCH, "epoch": epoch}, token=service.token)
    times = []
    with httpx.Client(base_url=service.url, cookies=service.cookies, timeout=60) as client:
        for number in range(rounds + 3):
            start = time.perf_counter()
            client.get(f"/jobs/{service.job}").raise_for_status()
            if number >= 3:  # the first load templates and fill caches
                times.append(1000 * (time.perf_counter() - start))
    return times


def _listeners(database: str) -> int:
    url = database.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' AND datname = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


def _wait_until_alive(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/healthz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError("the API did not start within 60 s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
