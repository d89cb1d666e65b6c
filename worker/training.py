"""One attempt of one job inside the trainer child, from its resume point to its artifacts.

It stores what it finds, fenced by the attempt's token, and says by its exit code how it ended. It never changes the
job's status: that is the supervisor's.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import structlog
from torch import Tensor

from masktune_core import pipeline
from masktune_core.checkpoint import read_foreign_checkpoint
from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset
from masktune_core.errors import Interrupted, ResumeError
from persistence import resume_points
from persistence.database import make_engine, session_factory
from persistence.errors import LeaseLost, ObjectCorrupt, ObjectMissing
from persistence.logging import configure_logging
from persistence.settings import get_settings
from persistence.store import ObjectStore, store_of
from persistence.tables import ResumePoint
from worker.cache import Cache
from worker.outcome import Exit, write_outcome
from worker.pulse import Pulse
from worker.reasons import reason_of
from worker.recorder import Recorder
from worker.retry import persist
from worker.room import needs_of, require_room
from worker.stopping import StopRequested, StopSwitch

_log = structlog.get_logger(__name__)

_MEDIA_TYPES: Final = {".json": "application/json"}
_OTHER_MEDIA_TYPE: Final = "application/octet-stream"


def run_attempt(specification: Mapping[str, Any]) -> Exit:
    """Run the attempt that `worker.supervisor` described, and say how it ended."""
    work_dir = Path(specification["work_dir"])
    switch, pulse = StopSwitch(), Pulse(work_dir)
    pulse.beat("its program was loaded", "preparing")
    try:
        _train(specification, work_dir, switch, pulse)
    except (StopRequested, Interrupted):
        return Exit.INTERRUPTED
    except LeaseLost:
        return Exit.LEASE_LOST
    except Exception as error:  # noqa: BLE001 - a process's last resort: whatever it was, the supervisor is told
        reason = reason_of(error)
        _log.exception("attempt_failed", code=reason.code)
        write_outcome(work_dir, reason)
        return Exit.FAILED
    return Exit.DONE


def _train(specification: Mapping[str, Any], work_dir: Path, switch: StopSwitch, pulse: Pulse) -> None:
    settings = get_settings()
    configure_logging(settings)
    sessions = session_factory(make_engine(settings.database_url.get_secret_value()))
    store = store_of(settings)
    cache = Cache(settings.home, settings.cache_max_bytes)
    config = JobConfig.model_validate(specification["config"])
    job_id = uuid.UUID(specification["job_id"])

    def on_chunk() -> None:
        pulse.beat("a piece of a file was fetched from the store", "preparing")

    with ExitStack() as stack:
        recorder = stack.enter_context(
            Recorder(
                sessions,
                store,
                job_id=job_id,
                token=uuid.UUID(specification["token"]),
                outbox=work_dir / "outbox",
                stopped=switch.requested,
                pulse=pulse,
            )
        )
        recorder.on_stage("preparing", 0)
        archive = stack.enter_context(cache.hold(store, **specification["dataset"], on_chunk=on_chunk))
        dataset = stack.enter_context(Dataset.open(archive, group_by=config.data.group_by))
        require_room(needs_of(config, dataset), work_dir, headroom=settings.disk_headroom_bytes)
        initial = None
        if specification["checkpoint"] is not None:
            weights = stack.enter_context(cache.hold(store, **specification["checkpoint"], on_chunk=on_chunk))
            initial = read_foreign_checkpoint(
                weights, architecture=config.model.architecture, num_classes=len(dataset.classes)
            )
        newest_first = persist(
            sessions, lambda session: resume_points.newest(session, job_id), give_up=threading.Event()
        )
        points = _fetched(newest_first, store, work_dir, recorder, on_chunk)
        result = _run(config, dataset, initial, points, recorder, work_dir / "run", switch)
        recorder.manifest(result.manifest)
        for name, path in result.artifacts.items():
            recorder.artifact(name, path, _MEDIA_TYPES.get(path.suffix, _OTHER_MEDIA_TYPE))
        recorder.flush()


def _fetched(
    points: Sequence[ResumePoint],
    store: ObjectStore,
    work_dir: Path,
    recorder: Recorder,
    on_chunk: Callable[[], object],
) -> Iterator[tuple[ResumePoint, Path]]:
    """The points whose bytes are still there and whole, each with its local file."""
    for point in points:
        path = work_dir / f"from-{point.seq}.resume"
        try:
            store.fetch(point.sha256, path, on_chunk=on_chunk)
        except (ObjectMissing, ObjectCorrupt) as error:
            recorder.on_warning("resume_point_unusable", str(error))
            continue
        yield point, path
        path.unlink()


def _run(
    config: JobConfig,
    dataset: Dataset,
    initial: Mapping[str, Tensor] | None,
    points: Iterator[tuple[ResumePoint, Path]],
    recorder: Recorder,
    work_dir: Path,
    switch: StopSwitch,
) -> pipeline.Result:
    """Go on from the newest point that the core accepts; without one, start at the beginning."""
    for point, path in points:
        work_dir.mkdir()
        recorder.resuming = {
            "stage": point.stage,
            "iteration": point.iteration,
            "epoch": point.epoch,
            "step": point.step,
        }
        try:
            with switch.patiently():
                return pipeline.run(
                    config, dataset, callbacks=recorder, resume=path, work_dir=work_dir, initial_state=initial
                )
        except ResumeError as error:
            recorder.resuming = None
            recorder.on_warning(error.code, str(error))
            shutil.rmtree(work_dir)
    work_dir.mkdir()
    with switch.patiently():
        return pipeline.run(config, dataset, callbacks=recorder, work_dir=work_dir, initial_state=initial)
