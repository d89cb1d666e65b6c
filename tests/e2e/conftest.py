"""Real workers on a small real data set, as in the worker's own tests."""

from __future__ import annotations

from tests.worker.conftest import (
    dataset_id,
    environment,
    make_job,
    normalised,
    raw_archive,
    settings,
    start_worker,
    tenant,
    upload,
)

__all__ = [
    "dataset_id",
    "environment",
    "make_job",
    "normalised",
    "raw_archive",
    "settings",
    "start_worker",
    "tenant",
    "upload",
]
