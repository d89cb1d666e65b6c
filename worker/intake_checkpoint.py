"""A foreign checkpoint, matched against its architecture and stored as safetensors."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from sqlalchemy.orm import Session

from masktune_core.checkpoint import read_foreign_checkpoint
from masktune_core.errors import ArchitectureError, CheckpointError
from persistence import checkpoints
from persistence.settings import Settings
from persistence.store import ObjectStore
from worker.storing import Storing


def examine_checkpoint(
    specification: Mapping[str, Any], source: Path, work_dir: Path, store: ObjectStore, _settings: Settings
) -> Callable[[Session], None]:
    """Match `source` strictly; returns the write that ends the validation, with the report of keys when it fails."""
    checkpoint_id, token = uuid.UUID(specification["id"]), uuid.UUID(specification["token"])
    architecture, num_classes = specification["architecture"], specification["num_classes"]
    try:
        state = read_foreign_checkpoint(source, architecture=architecture, num_classes=num_classes)
    except (ArchitectureError, CheckpointError) as error:
        reason = {"code": error.code, "message": str(error), "stage": None, "retryable": False}
        report = _report(error)
        return lambda session: checkpoints.finish_invalid(session, checkpoint_id, token, reason, report)
    content = work_dir / "content.safetensors"
    metadata = {"format": "pt", "architecture": architecture, "num_classes": str(num_classes)}
    save_file({name: tensor.contiguous() for name, tensor in sorted(state.items())}, content, metadata)
    storing = Storing(store, content)
    storing.put()

    def finish(session: Session) -> None:
        stored = storing.register(session)
        checkpoints.finish_ready(session, checkpoint_id, token, content_sha256=stored.sha256, size=stored.size)

    return finish


def _report(error: ArchitectureError | CheckpointError) -> dict[str, list[str]] | None:
    if isinstance(error, ArchitectureError):
        return None
    return {
        "missing": list(error.missing),
        "unexpected": list(error.unexpected),
        "misshapen": list(error.misshapen),
    }
