"""How much a tenant may keep and do: bytes, data sets, unfinished jobs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from persistence.errors import QuotaExceeded
from persistence.settings import Settings
from persistence.tables import (
    Artifact,
    Checkpoint,
    Dataset,
    IncomingUpload,
    Job,
    ResumePoint,
    StoredObject,
    Tenant,
    Upload,
)
from persistence.transitions import FINISHED

Kind = Literal["bytes", "datasets", "jobs"]


@dataclass(frozen=True, slots=True)
class Quota:
    """`used` of `limit`."""

    limit: int
    used: int


def kept_objects(tenant_id: uuid.UUID) -> Select[str, int]:
    """(sha256, size) of every object that a row of this tenant refers to, once each."""
    jobs = select(Job.id).where(Job.tenant_id == tenant_id)
    named = (
        select(Upload.sha256).where(Upload.tenant_id == tenant_id, Upload.expires_at > func.now()),
        select(Dataset.source_sha256).where(Dataset.tenant_id == tenant_id),
        select(Dataset.archive_sha256).where(Dataset.tenant_id == tenant_id, Dataset.archive_sha256.is_not(None)),
        select(Checkpoint.source_sha256).where(Checkpoint.tenant_id == tenant_id),
        select(Checkpoint.content_sha256).where(
            Checkpoint.tenant_id == tenant_id, Checkpoint.content_sha256.is_not(None)
        ),
        select(Artifact.sha256).where(Artifact.job_id.in_(jobs)),
        select(ResumePoint.sha256).where(ResumePoint.job_id.in_(jobs)),
    )
    return select(StoredObject.sha256, StoredObject.size).where(or_(*(StoredObject.sha256.in_(each) for each in named)))


def used(session: Session, tenant_id: uuid.UUID, kind: Kind) -> int:
    """What the tenant has: distinct bytes, with those announced by unfinished uploads; data sets; unfinished jobs."""
    statement: Select[Any]
    if kind == "bytes":
        kept = kept_objects(tenant_id).subquery()
        announced = select(func.coalesce(func.sum(IncomingUpload.size), 0)).where(
            IncomingUpload.tenant_id == tenant_id,
            IncomingUpload.status != "failed",
            (IncomingUpload.expires_at > func.now()) | (IncomingUpload.status == "verifying"),
        )
        statement = select(func.coalesce(func.sum(kept.c.size), 0) + announced.scalar_subquery())
    elif kind == "datasets":
        statement = select(func.count()).where(Dataset.tenant_id == tenant_id)
    else:
        statement = select(func.count()).where(Job.tenant_id == tenant_id, Job.status.not_in(FINISHED))
    return int(session.scalar(statement) or 0)


def limit(settings: Settings, tenant: Tenant, kind: Kind) -> int:
    """The tenant's own limit, or that of the settings."""
    own = {"bytes": tenant.quota_bytes, "datasets": tenant.quota_datasets, "jobs": tenant.quota_jobs}[kind]
    usual = {
        "bytes": settings.tenant_max_bytes,
        "datasets": settings.tenant_max_datasets,
        "jobs": settings.tenant_max_jobs,
    }[kind]
    return usual if own is None else own


def show(session: Session, settings: Settings, tenant_id: uuid.UUID) -> dict[Kind, Quota]:
    """Every limit and what is used of it."""
    tenant = session.get_one(Tenant, tenant_id)
    kinds: tuple[Kind, ...] = ("bytes", "datasets", "jobs")
    return {kind: Quota(limit(settings, tenant, kind), used(session, tenant_id, kind)) for kind in kinds}


def keeps(session: Session, tenant_id: uuid.UUID, sha256: str) -> bool:
    """Whether a row of this tenant refers to the object, so that another one takes no more room."""
    return session.execute(kept_objects(tenant_id).where(StoredObject.sha256 == sha256)).first() is not None


def require(
    session: Session, settings: Settings, tenant_id: uuid.UUID, kind: Kind, more: int = 1, *, made: bool = False
) -> None:
    """Raises `QuotaExceeded` when `more` would be too much; with `made`, the rows are there and are to be rolled back.

    The tenant stays locked until the transaction ends, so that of two requests that come at once the second sees what
    the first has taken: make the row in the same transaction.
    """
    tenant = session.scalars(
        select(Tenant).where(Tenant.id == tenant_id).with_for_update(key_share=True),
        execution_options={"populate_existing": True},
    ).one()
    allowed = limit(settings, tenant, kind)
    usage = used(session, tenant_id, kind) - (more if made else 0)
    if usage + more > allowed:
        raise QuotaExceeded(kind, allowed, usage, more)
