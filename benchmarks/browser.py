"""The saliency browser on a large job: pages of samples, overlay images, and many live viewers.

Served by the application over a real PostgreSQL, in one process with the client, so that the times are those of the
server with next to no network.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import text

from benchmarks._large_job import SIDE, Stack, service
from benchmarks._streams import all_open
from benchmarks.table import Row
from persistence import events
from persistence.database import transaction

PAGE_MS, IMAGE_MS, VIEWERS, CORES = 60.0, 40.0, 200, 1.0

_SORTS = ("index", "masked_fraction", "confidence_drop", "heatmap_distance")
_FILTERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "split": {"split": "test:original"},
    "class": {"label": 1},
    "group": {"group": 3},
    "fixed": {"flipped": "fixed"},
    "broken": {"flipped": "broken"},
    "wrong after": {"correct_after": "false"},
    "class, split, wrong before": {"label": 0, "split": "train", "correct_before": "false"},
    "unsure": {"max_confidence": 0.7},
    "narrow confidence": {"min_confidence": 0.6, "max_confidence": 0.601},
    "sure, of a class": {"min_confidence": 0.95, "label": 1},
    "sure before": {"min_confidence_before": 0.99},
    "sure before, unsure after": {"min_confidence_before": 0.9, "max_confidence": 0.7},
    "no sample fits": {"split": "val", "flipped": "fixed", "group": 1, "correct_after": "false"},
}


def run(quick: bool) -> list[Row]:
    """Pages and pictures of a job with 1,000,000 samples (`quick`: 100,000), and 200 viewers of a running job."""
    with (
        tempfile.TemporaryDirectory(prefix="masktune-browser-") as folder,
        service(Path(folder), viewers=VIEWERS) as stack,
    ):
        count = 100_000 if quick else 1_000_000
        job = stack.large_job(count)
        rounds = 2 if quick else 5
        return [
            *_pages(stack, job, count, rounds),
            _pictures(stack, job, 40 if quick else 200),
            *_viewers(stack, quick),
        ]


def _pages(stack: Stack, job: uuid.UUID, count: int, rounds: int) -> list[Row]:
    """Every filter with every sort both ways: the first pages, and pages from the middle of the order on."""
    first: dict[str, list[float]] = {}
    deep: list[float] = []
    shallow: list[float] = []
    with httpx.Client(base_url=stack.address, headers=stack.headers, timeout=60) as client:
        for (name, filters), sort, order in itertools.product(_FILTERS.items(), _SORTS, ("asc", "desc")):
            query = {**filters, "sort": sort, "order": order, "limit": 100}
            middle = _middle(stack, job, filters, sort)
            for number in range(rounds + 1):
                ways: list[tuple[list[float], dict[str, Any]]] = [(first.setdefault(name, []), {})]
                if middle is not None:
                    ways.append((deep, {"after": middle}))
                for times, more in ways:
                    taken = _timed(client, f"/v1/jobs/{job}/samples", query | more)
                    if number:  # the first fills the caches
                        times.append(taken)
                        if middle is not None and not more:
                            shallow.append(taken)
    worst = max(first, key=lambda name: _p95(first[name]))
    note = f"{count:,} samples; {len(_FILTERS)} filters × {len(_SORTS)} sorts × 2 orders"
    return [
        Row(
            "page of samples, p95",
            _p95([*itertools.chain.from_iterable(first.values())]),
            unit="ms",
            at_most=PAGE_MS,
            note=note,
        ),
        Row("page of samples, slowest filter, p95", _p95(first[worst]), unit="ms", at_most=PAGE_MS, note=worst),
        Row(
            "page from the middle, p95",
            _p95(deep),
            _p95(shallow),
            _p95(shallow) / _p95(deep),
            unit="ms",
            at_most=PAGE_MS,
            note="against the first page of the same filters and sorts",
        ),
    ]


def _middle(stack: Stack, job: uuid.UUID, filters: dict[str, Any], sort: str) -> int | None:
    """The index of a sample in the middle of the order, found without the API; None for a filter with few samples."""
    conditions = {
        "split": "split = :split",
        "label": "label = :label",
        "group": '"group" = :group',
        "min_confidence": "confidence_after >= :min_confidence",
        "max_confidence": "confidence_after <= :max_confidence",
        "min_confidence_before": "confidence_before >= :min_confidence_before",
    }
    if filters.keys() - conditions.keys():
        return None
    wanted = " AND ".join(["job_id = :job", *(conditions[name] for name in filters)])
    with transaction(stack.sessions) as session:
        total = session.scalar(text(f"SELECT count(*) FROM samples WHERE {wanted}"), {"job": job, **filters}) or 0
        found: int | None = session.scalar(
            text(f'SELECT index FROM samples WHERE {wanted} ORDER BY "{sort}", index OFFSET :half LIMIT 1'),
            {"job": job, "half": total // 2, **filters},
        )
    return found


def _pictures(stack: Stack, job: uuid.UUID, images: int) -> Row:
    """Heatmaps over images of 224 px, none drawn before."""
    with httpx.Client(base_url=stack.address, headers=stack.headers, timeout=60) as client:
        client.get(f"/v1/jobs/{job}/samples/0/image?view=heatmap")
        times = [
            _timed(client, f"/v1/jobs/{job}/samples/{index}/image", {"view": "heatmap"})
            for index in range(1, images + 1)
        ]
    return Row(
        f"overlay of {SIDE} px, uncached, p95", _p95(times), unit="ms", at_most=IMAGE_MS, note=f"{images} images"
    )


def _viewers(stack: Stack, quick: bool) -> list[Row]:
    """What 200 open streams of one job cost while it reports a few times a second."""
    job = stack.job()
    seconds = 3.0 if quick else 10.0
    cores, listeners, delays = asyncio.run(_watched(stack, job, seconds))
    note = f"{VIEWERS} viewers, {len(delays):,} events arrived"
    return [
        Row("live viewers: database listeners", listeners, unit="", at_most=1, note=note),
        Row(
            "live viewers: cores, clients included",
            cores,
            unit="cores",
            at_most=CORES,
            note="server and viewers together",
        ),
        Row("live viewers: from writing an event to its arrival, p95", _p95(delays), unit="ms"),
    ]


async def _watched(stack: Stack, job: uuid.UUID, seconds: float) -> tuple[float, float, list[float]]:
    sent: dict[int, float] = {}
    delays: list[float] = []
    ready = asyncio.Semaphore(0)
    limits = httpx.Limits(max_connections=VIEWERS + 10)
    async with httpx.AsyncClient(base_url=stack.address, headers=stack.headers, timeout=60, limits=limits) as client:

        async def view() -> None:
            headers = {"Accept": "text/event-stream"}
            async with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as stream:
                stream.raise_for_status()
                ready.release()
                async for line in stream.aiter_lines():
                    if line.startswith("id:") and (at := sent.get(int(line[3:]))):
                        delays.append(1000 * (time.perf_counter() - at))  # noqa: PERF401 - the stream never ends

        viewers = [asyncio.create_task(view()) for _ in range(VIEWERS)]
        await all_open(ready, viewers)
        await asyncio.sleep(1.0)
        last = await asyncio.to_thread(_report, stack, job)
        listeners = await asyncio.to_thread(_listeners, stack)
        cpu, start = time.process_time(), time.perf_counter()
        while time.perf_counter() - start < seconds:
            sent[last + 1] = time.perf_counter()
            last = await asyncio.to_thread(_report, stack, job)
            await asyncio.sleep(0.5)
        cores = (time.process_time() - cpu) / (time.perf_counter() - start)
        for viewer in viewers:
            viewer.cancel()
        await asyncio.gather(*viewers, return_exceptions=True)
    return cores, listeners, delays


def _report(stack: Stack, job: uuid.UUID) -> int:
    with transaction(stack.sessions) as session:
        return events.append(session, job, "job.epoch", {"stage": "training_erm", "epoch": 1}, token=None)


def _listeners(stack: Stack) -> int:
    with psycopg.connect(stack.database) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%'"
        row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])


def _timed(client: httpx.Client, path: str, query: dict[str, Any]) -> float:
    start = time.perf_counter()
    answer = client.get(path, params=query)
    taken = 1000 * (time.perf_counter() - start)
    answer.raise_for_status()
    return taken


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
