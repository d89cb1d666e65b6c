"""What a job started from, in words."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.web.formats import short
from persistence import checkpoints
from persistence.configs import read_what_can_be_read
from persistence.tables import Job


def from_checkpoint(job: Job) -> bool:
    """Whether the job trained no ERM model of its own, also when its checkpoint was deleted since."""
    return job.starts_from_checkpoint or initial_sha256(job) is not None


def initial_sha256(job: Job) -> str | None:
    """Hash of the weights that a finished job started from; None where it trained its own."""
    found: str | None = (job.manifest or {}).get("initial_state_sha256")
    return found


def start_of(session: Session, job: Job) -> str:
    """ "checkpoint resnet50-erm (1a2b3c4d)", "pretrained weights resnet50.tv_in1k" or "trained from scratch".

    The hash is of the checkpoint's file; of one that was deleted, of the weights in it.
    """
    if job.checkpoint_id is not None:
        found = checkpoints.get(session, job.tenant_id, job.checkpoint_id)
        return f"checkpoint {found.name} ({short(found.content_sha256)})"
    if from_checkpoint(job):
        initial = initial_sha256(job)
        return "a checkpoint that was deleted" + (f" (weights {short(initial)})" if initial else "")
    weights = read_what_can_be_read(job.config).model.weights
    return f"pretrained weights {weights}" if weights else "trained from scratch"
