"""A foreign checkpoint, matched against its architecture and stored as safetensors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from sqlalchemy.orm import Session

from masktune_core.checkpoint import read_foreign_checkpoint, stated_classes
from masktune_core.errors import ArchitectureError, CheckpointError
from masktune_core.intake.findings import LISTED
from masktune_core.intake.headroom import Headroom
from masktune_core.intake.names import printable
from persistence import checkpoints
from persistence.settings import Settings
from persistence.store import Stored
from worker.product import Product


def examine_checkpoint(
    specification: Mapping[str, Any], source: Path, work_dir: Path, settings: Settings
) -> Product | Callable[[Session], None]:
    """Match `source` strictly; returns the weights to keep, or the write that ends the validation with all keys."""
    checkpoint_id, token = uuid.UUID(specification["id"]), uuid.UUID(specification["token"])
    architecture, num_classes = specification["architecture"], specification["num_classes"]
    try:
        state = read_foreign_checkpoint(
            source, architecture=architecture, num_classes=num_classes, name=specification["filename"]
        )
    except (ArchitectureError, CheckpointError) as error:
        reason, report = _reason(error.code, str(error)), _report(error)
        return lambda session: checkpoints.finish_invalid(session, checkpoint_id, token, reason, report)
    content = work_dir / "content.safetensors"
    named = stated_classes(source)
    # What the owner says stands; what is left is not told again if it counts otherwise.
    classes = specification["classes"] or (list(named) if named and len(named) == num_classes else None)
    described = {"architecture": architecture, "num_classes": num_classes, "classes": classes}
    # One key, as in checkpoints of jobs: several come in an order that differs, and equal weights get unequal hashes.
    metadata = {"masktune": json.dumps(described, sort_keys=True, ensure_ascii=False, separators=(",", ":"))}
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    Headroom(work_dir, settings.disk_headroom_bytes).take(size)
    save_file({name: tensor.contiguous() for name, tensor in sorted(state.items())}, content, metadata)

    def accept(session: Session, stored: Stored) -> None:
        checkpoints.finish_ready(
            session, checkpoint_id, token, content_sha256=stored.sha256, size=stored.size, classes=classes
        )

    def refuse(session: Session, code: str, message: str) -> None:
        checkpoints.finish_invalid(session, checkpoint_id, token, _reason(code, message))

    return Product(content, accept, refuse)


def _reason(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "stage": None, "retryable": False}


def _report(error: ArchitectureError | CheckpointError) -> dict[str, Any] | None:
    """The first keys of each kind, as they may be kept and shown, and how many there are."""
    if isinstance(error, ArchitectureError):
        return None
    kinds = {"missing": error.missing, "unexpected": error.unexpected, "misshapen": error.misshapen}
    shown = {kind: [printable(key) for key in keys[:LISTED]] for kind, keys in kinds.items()}
    return {**shown, "counts": {kind: len(keys) for kind, keys in kinds.items()}}
