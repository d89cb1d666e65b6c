"""When waiting jobs may start, and when they and the running ones may end.

A job's length is told from work and pace. Work is counted in images per stage. The pace of a stage, seconds per image,
is that of earlier jobs with the same network and input size, of a running job's own finished stages, and inside a stage
its own at this moment: so the longer a job runs, the better its forecast. Who starts next is played through by the
rules of `turns`. What nobody can know yet is None, never a guess.
"""

from __future__ import annotations

import heapq
import math
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from persistence import leases, turns
from persistence.paces import Pace, Work, learned, remaining_seconds, work_of
from persistence.tables import Dataset, Job, Tenant
from persistence.transitions import ACTIVE

_MOST_JOBS: Final = 1000  # further back in the queue nothing is foretold


@dataclass(frozen=True, slots=True)
class Forecast:
    """`position` counts from 1 among the queued jobs; None for a job that runs. Moments are None while unknown."""

    position: int | None
    starts_at: datetime | None
    finishes_at: datetime | None


def forecast(session: Session, *, quota_running: int = turns.UNLIMITED) -> dict[uuid.UUID, Forecast]:
    """Every running job, and the queued ones in the order in which they will start.

    `quota_running` is how many jobs of a tenant without a quota of its own may run at the same time.
    """
    now = session.scalar(select(func.clock_timestamp()))
    assert now is not None
    running = _jobs(session, ACTIVE)
    queued = _jobs(session, frozenset({"queued"}))
    jobs = [*running, *queued]
    if not jobs:
        return {}
    datasets = {
        row.id: row
        for row in session.scalars(
            select(Dataset).where(Dataset.id.in_({job.dataset_id for job in jobs if job.dataset_id is not None}))
        )
    }
    tenants = {
        row.id: row for row in session.scalars(select(Tenant).where(Tenant.id.in_({job.tenant_id for job in jobs})))
    }
    works = {job.id: work_of(job, datasets.get(job.dataset_id) if job.dataset_id else None) for job in jobs}
    paces = learned(session, works.values())
    seconds = {job.id: _seconds(session, job, works[job.id], paces) for job in jobs}
    limits = {tenant.id: turns.limit_of(tenant, quota_running) for tenant in tenants.values()}
    return _play(now, running, queued, tenants, limits, seconds)


def _jobs(session: Session, statuses: frozenset[str]) -> Sequence[Job]:
    return session.scalars(
        select(Job).where(leases.status_in(Job, statuses)).order_by(Job.created_at, Job.id).limit(_MOST_JOBS)
    ).all()


def _seconds(session: Session, job: Job, work: Work | None, paces: Mapping[tuple[str, int], Pace]) -> float:
    """What is left of a job; infinite when nobody knows."""
    if work is None:
        return math.inf
    left = remaining_seconds(session, job, work, paces.get(work.kind))
    return math.inf if left is None else left


def _play(
    now: datetime,
    running: Sequence[Job],
    queued: Sequence[Job],
    tenants: Mapping[uuid.UUID, Tenant],
    limits: Mapping[uuid.UUID, int],
    seconds: Mapping[uuid.UUID, float],
) -> dict[uuid.UUID, Forecast]:
    """As many jobs run at a time as run now; whenever one ends, the next one that may starts.

    `limits` says how many of each tenant may at a time. A place that nobody may take is free for the next turn.
    """
    found = {job.id: Forecast(None, None, _moment(now, seconds[job.id])) for job in running}
    ends = [(seconds[job.id], number, job.tenant_id) for number, job in enumerate(running)]
    heapq.heapify(ends)
    under_way = Counter(job.tenant_id for job in running)
    waiting: dict[uuid.UUID, list[Job]] = {}
    for job in sorted(queued, key=lambda job: (-job.priority, job.id), reverse=True):
        waiting.setdefault(job.tenant_id, []).append(job)  # next one last
    position, number, free = 0, len(running), 0
    at = 0.0 if running else math.inf  # nobody knows when the first worker comes
    while waiting:
        may = [each for each in waiting if limits[each] == turns.UNLIMITED or under_way[each] < limits[each]]
        if ends and (free == 0 or not may):
            at, _, tenant_id = heapq.heappop(ends)
            under_way[tenant_id] -= 1
            free += 1
            continue
        free -= 1
        tenant_id = min(may or waiting, key=lambda each: turns.rank(tenants[each], under_way))
        job = waiting[tenant_id].pop()
        if not waiting[tenant_id]:
            del waiting[tenant_id]
        position, number = position + 1, number + 1
        end = at + seconds[job.id]
        found[job.id] = Forecast(position, _moment(now, at), _moment(now, end))
        under_way[tenant_id] += 1
        if running:
            heapq.heappush(ends, (end, number, tenant_id))
    return found


def _moment(now: datetime, seconds: float) -> datetime | None:
    return None if math.isinf(seconds) else now + timedelta(seconds=seconds)
