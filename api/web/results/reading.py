"""A job's `result.json`: the very file that can be downloaded, read from the object store."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy.orm import Session

from persistence import artifacts
from persistence.errors import NotFound
from persistence.store import ObjectStore
from persistence.tables import Job

NAME: Final = "result.json"
LARGEST: Final = 64 * 2**20
"""Bytes; a result of many thousands of classes and groups on many test sets is for programs, not for a page."""


def read_result(session: Session, store: ObjectStore, job: Job) -> dict[str, Any] | None:
    """The parsed file; None when the job has none (yet), or one too large to show. Raises `StoreError`."""
    try:
        artifact = artifacts.get(session, job.id, NAME)
    except NotFound:
        return None
    if artifact.size > LARGEST:
        return None
    found: dict[str, Any] = json.loads(store.read_range(artifact.sha256, 0, artifact.size))
    return found
