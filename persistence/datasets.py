"""Data sets: from an upload to a checked, normalised archive."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from masktune_core.config import IntakeOptions
from persistence import intakes, leases
from persistence.errors import Conflict, NotFound
from persistence.images import by_index as images_of
from persistence.images import copy_in
from persistence.images import get as get_image
from persistence.images import page as images_page
from persistence.pages import Page, cut
from persistence.tables import Dataset, Job, Upload
from persistence.transitions import FINISHED

__all__ = [
    "Claim",
    "claim",
    "create",
    "delete",
    "expired",
    "finish_invalid",
    "finish_ready",
    "get",
    "get_image",
    "hand_back",
    "images_of",
    "images_page",
    "list_page",
    "mark_dispatched",
    "renew",
    "some",
    "take_back_expired",
    "undispatched",
]

_USUAL: Final = IntakeOptions()


@dataclass(frozen=True, slots=True)
class Claim:
    """A data set to check, and the token that every write of this attempt must carry."""

    dataset: Dataset
    token: uuid.UUID
    attempt: int


def create(
    session: Session, tenant_id: uuid.UUID, name: str, upload: Upload, options: IntakeOptions = _USUAL
) -> Dataset:
    """A data set to be checked, and read as `options` say, from an upload, which may go afterwards."""
    dataset = Dataset(
        tenant_id=tenant_id,
        name=name,
        source_sha256=upload.sha256,
        source_filename=upload.filename,
        options=options.model_dump(mode="json"),
    )
    session.add(dataset)
    session.flush()
    session.refresh(dataset)
    return dataset


def get(session: Session, tenant_id: uuid.UUID, dataset_id: uuid.UUID) -> Dataset:
    """Raises `NotFound`."""
    dataset = session.scalars(
        select(Dataset).where(Dataset.id == dataset_id, Dataset.tenant_id == tenant_id)
    ).one_or_none()
    if dataset is None:
        raise NotFound("dataset", dataset_id)
    return dataset


def some(session: Session, tenant_id: uuid.UUID, ids: Collection[uuid.UUID]) -> Sequence[Dataset]:
    """The tenant's data sets of these ids; those that are not there are left out."""
    return session.scalars(select(Dataset).where(Dataset.tenant_id == tenant_id, Dataset.id.in_(ids))).all()


def list_page(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    status: str | None = None,
    after: uuid.UUID | None = None,
    limit: int = 50,
) -> Page[Dataset]:
    """The tenant's data sets, newest first."""
    statement = select(Dataset).where(Dataset.tenant_id == tenant_id)
    if status is not None:
        statement = statement.where(Dataset.status == status)
    if after is not None:
        statement = statement.where(Dataset.id < after)
    rows = session.scalars(statement.order_by(Dataset.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda dataset: dataset.id)


def delete(session: Session, tenant_id: uuid.UUID, dataset_id: uuid.UUID) -> None:
    """Delete a data set; finished jobs stay, without it. Raises `NotFound`, `Conflict` (dataset_in_use)."""
    dataset = session.scalars(
        # The full lock: a job that is being created waits for us, or we see it.
        select(Dataset).where(Dataset.id == dataset_id, Dataset.tenant_id == tenant_id).with_for_update()
    ).one_or_none()
    if dataset is None:
        raise NotFound("dataset", dataset_id)
    users = session.scalar(select(func.count()).where(Job.dataset_id == dataset_id, Job.status.not_in(FINISHED)))
    if users:
        raise Conflict(
            "dataset_in_use", f"{users} unfinished jobs use data set {dataset_id}: cancel or await them first"
        )
    session.delete(dataset)
    session.flush()


def claim(session: Session, dataset_id: uuid.UUID, worker: str, lease_seconds: float) -> Claim | None:
    """Take a data set for checking; None when it needs none, or somebody has it."""
    dataset = leases.claim(session, Dataset, dataset_id, worker=worker, lease_seconds=lease_seconds)
    if dataset is None or dataset.lease_token is None:
        return None
    return Claim(dataset, dataset.lease_token, dataset.attempt)


def renew(session: Session, dataset_id: uuid.UUID, token: uuid.UUID, lease_seconds: float) -> str:
    """Extend the lease. Raises `LeaseLost`."""
    return leases.renew(session, Dataset, dataset_id, token, lease_seconds)


def finish_ready(
    session: Session,
    dataset_id: uuid.UUID,
    token: uuid.UUID,
    *,
    archive_sha256: str,
    size: int,
    images: Iterable[Mapping[str, Any]],
    layout: str,
    classes: Sequence[str],
    attributes: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    report: Mapping[str, Any] | None = None,
    problems: Sequence[Mapping[str, Any]] = (),
    total: int = 0,
) -> None:
    """The check passed: `images` are the columns of `DatasetImage` without `dataset_id`. Raises `LeaseLost`.

    The archive's object must be registered. `problems` are the findings worth telling, of `total`;
    `report` is the preflight report.
    """
    dataset = leases.fence(session, Dataset, dataset_id, token)
    dataset.image_count = copy_in(session, dataset_id, images)
    dataset.archive_sha256, dataset.archive_size = archive_sha256, size
    dataset.layout, dataset.classes = layout, list(classes)
    dataset.attributes = [dict(attribute) for attribute in attributes]
    dataset.summary = dict(summary)
    dataset.report = None if report is None else dict(report)
    dataset.problems, dataset.problem_count = [dict(problem) for problem in problems], total
    intakes.settle(dataset, "ready")
    session.flush()


def finish_invalid(
    session: Session,
    dataset_id: uuid.UUID,
    token: uuid.UUID,
    problems: Sequence[Mapping[str, Any]],
    total: int,
    error: Mapping[str, Any] | None = None,
) -> None:
    """The check found what cannot be used. Raises `LeaseLost`."""
    dataset = leases.fence(session, Dataset, dataset_id, token)
    dataset.problems, dataset.problem_count = [dict(problem) for problem in problems], total
    intakes.settle(dataset, "invalid", error)
    session.flush()


def hand_back(
    session: Session, dataset_id: uuid.UUID, token: uuid.UUID, error: Mapping[str, Any], *, counted: bool = True
) -> str:
    """Let another attempt check, or end as `invalid` when the attempts are used up. Raises `LeaseLost`."""
    return intakes.hand_back(session, Dataset, dataset_id, token, error, counted=counted)


def take_back_expired(session: Session, dataset_id: uuid.UUID) -> str | None:
    """End the attempt of a worker that went silent; None when it has not."""
    return intakes.take_back_expired(session, Dataset, dataset_id)


def expired(session: Session) -> Sequence[uuid.UUID]:
    """Data sets whose worker went silent."""
    return leases.expired(session, Dataset)


def undispatched(session: Session, older_than_seconds: float) -> Sequence[uuid.UUID]:
    """Data sets that wait, and were not sent within that time."""
    return leases.undispatched(session, Dataset, older_than_seconds)


def mark_dispatched(session: Session, dataset_id: uuid.UUID) -> None:
    """Note that the task was sent just now."""
    leases.mark_dispatched(session, Dataset, dataset_id)
