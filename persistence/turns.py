"""Whose job is next: tenants take turns, and each tenant's own jobs go by priority, then by age.

The tenant with the fewest jobs under way is served first; among equals the one that was served longest ago. So a tenant
that queues a thousand jobs delays another's only job by at most one turn, and its priority decides among its own jobs
only.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.orm import Session

from persistence import leases, setbacks
from persistence.tables import Job, Tenant
from persistence.transitions import ACTIVE

_CLAIMS: Final = 0x6D61736B  # a number of our own among the database's advisory locks
UNLIMITED: Final = 0


def claim_next(session: Session, *, quota_running: int = UNLIMITED, lease_seconds: float, **values: Any) -> Job | None:
    """Take the lease of the job whose turn it is; None when no job may start now. `values` as in `leases.claim`.

    Claims follow one another under an advisory lock: otherwise two at once could both see room for one more job of a
    tenant. Who is next is asked anew after every job that went away meanwhile (cancelled, paused), until one is won.
    """
    session.execute(select(func.pg_advisory_xact_lock(_CLAIMS)))
    while (job_id := next_up(session, quota_running=quota_running)) is not None:
        job = leases.claim(session, Job, job_id, lease_seconds=lease_seconds, **values)
        if job is not None:
            served(session, job.tenant_id)
            return job
    return None


def next_up(session: Session, *, quota_running: int = UNLIMITED) -> uuid.UUID | None:
    """The job whose turn it is, if any may start now. One that was put off lets others pass."""
    return session.scalars(_turns(quota_running).limit(1)).first()


def served(session: Session, tenant_id: uuid.UUID) -> None:
    """Note that a job of this tenant was claimed just now."""
    session.execute(
        update(Tenant).where(Tenant.id == tenant_id).values(served_at=func.clock_timestamp()),
        execution_options={"synchronize_session": False},
    )


def limit_of(tenant: Tenant, quota_running: int) -> int:
    """How many jobs of this tenant may run at the same time; `UNLIMITED` is any number."""
    return quota_running if tenant.quota_running is None else tenant.quota_running


def under_way(session: Session, tenant_id: uuid.UUID) -> int:
    """How many jobs of this tenant run now."""
    running = select(func.count()).where(Job.tenant_id == tenant_id, leases.status_in(Job, ACTIVE))
    return session.scalar(running) or 0


def rank(tenant: Tenant, under_way: Mapping[uuid.UUID, int]) -> tuple[int, float, uuid.UUID]:
    """The smallest is served first; the same order as in the database, for forecasts."""
    served_at = 0.0 if tenant.served_at is None else tenant.served_at.timestamp()
    return under_way.get(tenant.id, 0), served_at, tenant.id


def _turns(quota_running: int) -> Select[uuid.UUID]:
    under_way = (
        select(Job.tenant_id, func.count().label("jobs"))
        .where(leases.status_in(Job, ACTIVE))
        .group_by(Job.tenant_id)
        .subquery()
    )
    count = func.coalesce(under_way.c.jobs, 0)
    limit = func.coalesce(Tenant.quota_running, quota_running)
    return (
        select(Job.id)
        .join(Tenant, Tenant.id == Job.tenant_id)
        .outerjoin(under_way, under_way.c.tenant_id == Job.tenant_id)
        .where(
            leases.status_in(Job, frozenset({"queued"})),
            Job.lease_token.is_(None),
            setbacks.may_be_tried(Job),
            or_(limit == UNLIMITED, count < limit),
        )
        .order_by(count, Tenant.served_at.asc().nulls_first(), Tenant.id, Job.priority.desc(), Job.id)
    )
