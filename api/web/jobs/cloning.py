"""What a clone of a job lacks, because it was deleted since the job ran."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy.orm import Session

from persistence import artifacts, stages
from persistence.errors import NotFound
from persistence.tables import Job

_WEIGHTS = "erm.safetensors"  # what the job started from, as it stored it


@dataclass(frozen=True, slots=True)
class Lost:
    """`weights`: the job that still has those of its deleted checkpoint among its files."""

    dataset: bool = False
    checkpoint: bool = False
    weights: uuid.UUID | None = None


NOTHING = Lost()


def lost_of(session: Session, job: Job) -> Lost:
    """What the job had that its clone cannot have."""
    checkpoint = job.checkpoint_id is None and stages.from_checkpoint(job, stages.of(session, job))
    return Lost(
        dataset=job.dataset_id is None,
        checkpoint=checkpoint,
        weights=job.id if checkpoint and _has_weights(session, job) else None,
    )


def _has_weights(session: Session, job: Job) -> bool:
    try:
        artifacts.get(session, job.id, _WEIGHTS)
    except NotFound:
        return False
    return True
