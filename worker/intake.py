"""The intake child: `python -m worker.intake`, started for one data set or checkpoint, whose bytes nobody trusts.

It runs under a memory limit, and its supervisor sets it a time limit. It stores what it made and, fenced by its token,
ends the validation itself; it fails with a reason only where the input is not to blame.
"""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.orm import Session

from persistence.database import make_engine, session_factory
from persistence.errors import LeaseLost
from persistence.logging import configure_logging
from persistence.settings import Settings, get_settings
from persistence.store import store_of
from worker import lifeline
from worker.cache import bring
from worker.outcome import Exit, write_outcome
from worker.product import Product, keep
from worker.reasons import reason_of
from worker.retry import persist
from worker.rlimits import limit_memory
from worker.stopping import StopRequested, StopSwitch

Examiner = Callable[[Mapping[str, Any], Path, Path, Settings], Product | Callable[[Session], None]]
"""(specification, source, work_dir, settings) → what to keep, or the write that ends the validation as invalid."""

_log = structlog.get_logger(__name__)


def main() -> int:
    """Read the specification from standard input, validate, return the exit code."""
    specification = lifeline.receive()
    settings = get_settings()
    configure_logging(settings)
    limit_memory(settings.intake_max_memory_bytes)
    StopSwitch()
    work_dir = Path(specification["work_dir"])
    try:
        _validate(specification, work_dir, settings)
    except StopRequested:
        return Exit.INTERRUPTED
    except LeaseLost:
        return Exit.LEASE_LOST
    except Exception as error:  # noqa: BLE001 - a process's last resort: whatever it was, the supervisor is told
        reason = reason_of(error)
        if reason.code == "out_of_disk":
            reason = replace(reason, retryable=False)  # every try would write as much again, to the same end
        _log.exception("validation_failed", code=reason.code)
        write_outcome(work_dir, reason)
        return Exit.FAILED
    return Exit.DONE


def _validate(specification: dict[str, Any], work_dir: Path, settings: Settings) -> None:
    sessions = session_factory(make_engine(settings.database_url.get_secret_value()))
    store = store_of(settings)
    # Not under its own name, which may be one that no disk takes; messages about it say that one.
    source = work_dir / "upload"
    bring(store, specification["source_sha256"], source)
    found = _examiner(specification["kind"])(specification, source, work_dir, settings)
    if isinstance(found, Product):
        keep(found, sessions, store, settings, uuid.UUID(specification["tenant_id"]))
    else:
        persist(sessions, found, give_up=threading.Event())


def _examiner(kind: str) -> Examiner:
    # Imported on need: only checkpoints load torch, which alone takes several hundred MiB.
    if kind == "dataset":
        from worker.intake_dataset import examine_dataset

        return examine_dataset
    from worker.intake_checkpoint import examine_checkpoint

    return examine_checkpoint


if __name__ == "__main__":
    sys.exit(main())
