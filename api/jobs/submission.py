"""From a submitted body to a job that can run, or to the reason why it cannot."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session

from api.errors import ApiError, field_problems, invalid
from api.jobs.schemas import JobCreate
from masktune_core.config import PRESETS, JobConfig, resolve_config
from masktune_core.config_fit import misfits
from persistence import checkpoints, datasets, jobs
from persistence.tables import Checkpoint, Dataset, Job

_UNNAMED = "MaskTune job"


def submit(
    session: Session, tenant_id: UUID, body: JobCreate, idempotency_key: str | None, *, request_id: str | None = None
) -> tuple[Job, bool]:
    """The job for this body, and whether it is new: with a key that came before, it is the earlier one.

    Raises `ApiError` or `Conflict` for what is wrong with the request, `NotFound` for an id that is not the tenant's,
    and `IdempotencyMismatch` for a key that came with another body.
    """
    config = checked_config(body.preset, body.config)
    job, created = jobs.create(
        session,
        tenant_id=tenant_id,
        dataset_id=body.dataset_id,
        checkpoint_id=body.checkpoint_id,
        name=body.name or _UNNAMED,
        config=config,
        priority=body.priority,
        idempotency_key=idempotency_key,
        request_hash=request_hash(body),
    )
    if created:
        job.request_id = request_id
        # Checked afterwards, and rolled back if need be: a replay answers even when the data set is gone by now.
        dataset = datasets.get(session, tenant_id, body.dataset_id)
        check_dataset(config, dataset)
        if body.checkpoint_id is not None:
            check_checkpoint(config, dataset, checkpoints.get(session, tenant_id, body.checkpoint_id))
        check_network(config)
        check_splits(config, dataset, skips_erm=body.checkpoint_id is not None)
        if body.name is None:
            job.name = dataset.name
            session.flush()
    return job, created


def checked_config(preset: str | None, changes: dict[str, Any]) -> JobConfig:
    """The resolved configuration. Raises `ApiError` (422): unknown_preset, or invalid_config with each place."""
    if preset is not None and preset not in PRESETS:
        detail = f"unknown preset {preset!r}: use one of {', '.join(PRESETS)}"
        raise ApiError(
            "unknown_preset", detail, presets=list(PRESETS), errors=[_at("preset", "unknown_preset", detail)]
        )
    if "preset" in changes:
        detail = "name the preset beside 'config', not in it"
        raise invalid("invalid_config", [_at("config/preset", "extra_forbidden", detail)])
    try:
        return resolve_config(preset, changes)
    except ValidationError as error:
        raise invalid("invalid_config", field_problems(error.errors(), prefix=("body", "config"))) from None
    except RecursionError:
        raise invalid("invalid_config", [_at("config", "too_deep", "nested too deeply")]) from None


def check_dataset(config: JobConfig, dataset: Dataset) -> None:
    """Raises `ApiError` (422) when the configuration names something that the data set does not have."""
    attributes = [attribute["name"] for attribute in dataset.attributes]
    group_by = config.data.group_by
    if group_by is not None and group_by not in attributes:
        known = f"use one of {', '.join(attributes)}" if attributes else "it has no attribute columns"
        detail = f"data set {dataset.id} has no attribute {group_by!r}: {known}"
        problem = _at("config/data/group_by", "unknown_attribute", detail)
        raise ApiError("unknown_attribute", detail, attributes=attributes, errors=[problem])
    if config.erm.select == "best_worst_group" and not attributes:
        detail = "best_worst_group needs groups, and the data set has no attribute columns; use best_worst_class"
        raise invalid("invalid_config", [_at("config/erm/select", "no_groups", detail)])


def check_network(config: JobConfig) -> None:
    """Raises `ApiError` (422), with each place, when the network cannot be what the configuration wants of it."""
    found = [_at(f"config/{each.field.replace('.', '/')}", each.code, each.message) for each in misfits(config)]
    if found:
        raise invalid("invalid_config", found)


def check_splits(config: JobConfig, dataset: Dataset, *, skips_erm: bool) -> None:
    """Raises `ApiError` (422), with each place, when a split lacks what the job needs of it.

    `skips_erm`: it starts from a checkpoint, so that no epoch is chosen.
    """
    splits: dict[str, Any] = (dataset.summary or {}).get("splits", {})
    found = []
    if splits and splits.get("train", {}).get("count", 0) < 2:
        detail = "the data set has fewer than 2 images in its train split: there is nothing to train on"
        found.append(_at("dataset_id", "config_unusable", detail))
    select = config.erm.select
    if not skips_erm and select != "last" and splits:
        if "val" not in splits:
            detail = f"erm.select is {select}, but the data set has no val split: set it to last"
            found.append(_at("config/erm/select", "no_validation_split", detail))
        elif select == "best_worst_group" and _known_groups(dataset, config.data.group_by, "val") == 0:
            detail = "erm.select is best_worst_group, but no image of the val split has a known group: choose another"
            found.append(_at("config/erm/select", "no_groups", detail))
    if found:
        raise invalid("invalid_config", found)


def _known_groups(dataset: Dataset, group_by: str | None, split: str) -> int | None:
    """How many images of a split have a known group; None for a data set without a report."""
    for attribute in (dataset.report or {}).get("attributes", []):
        if group_by in (None, attribute["name"]):
            counts: dict[str, int] = attribute["groups"].get(split, {})
            return sum(counts.values())
    return None


def check_checkpoint(config: JobConfig, dataset: Dataset, checkpoint: Checkpoint) -> None:
    """Raises `ApiError` (422) when the checkpoint is for another network, another number of classes, or others."""
    wanted = config.model.architecture
    if checkpoint.architecture != wanted:
        raise ApiError(
            "checkpoint_architecture_mismatch",
            f"checkpoint {checkpoint.id} is a {checkpoint.architecture}, the configuration asks for {wanted}: "
            f"set config.model.architecture to {checkpoint.architecture}, or take another checkpoint",
            checkpoint=checkpoint.architecture,
            config=wanted,
        )
    classes = len(dataset.classes)
    if checkpoint.num_classes != classes:
        raise ApiError(
            "checkpoint_classes_mismatch",
            f"checkpoint {checkpoint.id} tells {checkpoint.num_classes} classes apart, data set {dataset.id} has "
            f"{classes}: take a checkpoint that was trained on these classes",
            checkpoint=checkpoint.num_classes,
            dataset=classes,
        )

    if checkpoint.classes is not None and checkpoint.classes != dataset.classes:
        at, ours, theirs = next(
            (number, *names)
            for number, names in enumerate(zip(checkpoint.classes, dataset.classes, strict=True))
            if names[0] != names[1]
        )
        what = "in another order" if set(checkpoint.classes) == set(dataset.classes) else "other classes"
        raise ApiError(
            "checkpoint_class_names_mismatch",
            f"checkpoint {checkpoint.id} tells {what} apart than data set {dataset.id} has: output {at} is {ours!r}, "
            f"label {at} is {theirs!r}. Take a checkpoint of these classes; if only the names differ, make it again "
            "from the same upload with the data set's names as 'classes'",
            output=at,
            checkpoint=ours,
            dataset=theirs,
        )


def request_hash(body: JobCreate) -> str:
    """What makes two bodies the same: their fields, whatever the order, spacing and defaults left out."""
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _at(pointer: str, code: str, detail: str) -> dict[str, str]:
    return {"location": "body", "pointer": f"/{pointer}", "code": code, "detail": detail}
