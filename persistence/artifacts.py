"""Files that a job made, for download."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence import events, leases
from persistence.errors import NotFound
from persistence.tables import Artifact, Job


def put(
    session: Session, job_id: uuid.UUID, token: uuid.UUID, name: str, sha256: str, size: int, media_type: str
) -> None:
    """Name a registered object as the job's file; an earlier file of that name is replaced. Raises `LeaseLost`."""
    leases.fence(session, Job, job_id, token)
    values = {"sha256": sha256, "size": size, "media_type": media_type}
    session.execute(
        insert(Artifact)
        .values(job_id=job_id, name=name, **values)
        .on_conflict_do_update(
            index_elements=[Artifact.job_id, Artifact.name], set_={**values, "created_at": func.now()}
        )
    )
    events.append(session, job_id, "job.artifact", {"name": name, "sha256": sha256, "size": size}, token=token)


def list_all(session: Session, job_id: uuid.UUID) -> Sequence[Artifact]:
    """By name."""
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)).all()


def get(session: Session, job_id: uuid.UUID, name: str) -> Artifact:
    """Raises `NotFound`."""
    artifact = session.get(Artifact, (job_id, name))
    if artifact is None:
        raise NotFound("artifact", name)
    return artifact
