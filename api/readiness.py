"""Whether a checked thing can be used, and if not, why not."""

from __future__ import annotations

from api.errors import ApiError
from persistence.tables import Checkpoint, Dataset


def require_dataset(dataset: Dataset) -> Dataset:
    """The data set, if it is ready; else `ApiError` (409)."""
    if dataset.status == "validating":
        detail = f"Data set {dataset.id} is still being checked; wait until its status is 'ready'."
        raise ApiError("dataset_not_ready", detail, dataset_status=dataset.status)
    if dataset.status == "invalid":
        detail = f"Data set {dataset.id} is invalid, see its problems; upload a repaired archive."
        raise ApiError("dataset_invalid", detail, dataset_status=dataset.status)
    return dataset


def require_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, if it is ready; else `ApiError` (409)."""
    if checkpoint.status == "validating":
        detail = f"Checkpoint {checkpoint.id} is still being checked; wait until its status is 'ready'."
        raise ApiError("checkpoint_not_ready", detail, checkpoint_status=checkpoint.status)
    if checkpoint.status == "invalid":
        detail = f"Checkpoint {checkpoint.id} does not fit {checkpoint.architecture}; see its report."
        raise ApiError("checkpoint_invalid", detail, checkpoint_status=checkpoint.status)
    return checkpoint


def archive_of(dataset: Dataset) -> str:
    """Hash of a ready data set's normalised archive."""
    if dataset.archive_sha256 is None:
        raise LookupError(f"data set {dataset.id} is ready without an archive")
    return dataset.archive_sha256
