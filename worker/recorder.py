"""What a run reports, on its way to Postgres and the object store."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy.orm import Session, sessionmaker

from masktune_core.callbacks import Callbacks, EpochRecord, Metric, Progress, ResumePointInfo, SampleBatch
from masktune_core.config import Stage
from masktune_core.insight import Insight
from persistence import artifacts, events, insights, jobs, resume_points, samples
from persistence import metrics as metric_rows
from persistence.errors import StoreUnavailable
from persistence.store import ObjectStore
from worker.outcome import Exit
from worker.pulse import Pulse
from worker.retry import outlast
from worker.rows import insight_row, metric_row, plain, row_bytes, sample_rows
from worker.storing import Storing
from worker.writer import Write, Writer

_METRIC_BYTES = 300


class Recorder(Callbacks):
    """Callbacks → a buffered `Writer`, each write fenced by the attempt's token.

    When the lease is lost the process ends at once: another attempt owns the job now. An error in writing ends the
    run at its next call. `resuming` is the place that the run was told to go on from, logged once it does. Every step
    is a sign of progress in `pulse`.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        store: ObjectStore,
        *,
        job_id: uuid.UUID,
        token: uuid.UUID,
        outbox: Path,
        stopped: Callable[[], bool],
        pulse: Pulse,
        on_lease_lost: Callable[[], object] = lambda: os._exit(Exit.LEASE_LOST),
    ) -> None:
        self.resuming: dict[str, Any] | None = None
        self._store, self._job_id, self._token = store, job_id, token
        self._outbox, self._stopped, self._pulse = outbox, stopped, pulse
        self._progress: Progress | None = None
        self._place: tuple[Stage, int] | None = None
        self._points = 0
        self._store_is_away = False
        self._writer = Writer(
            sessions, on_lease_lost, lambda session, number: jobs.begin_write(session, job_id, token, number)
        )

    def __enter__(self) -> Self:
        self._outbox.mkdir(parents=True, exist_ok=True)
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, traceback)

    def flush(self) -> None:
        """Wait until everything reported so far is stored."""
        self._writer.flush()

    def on_stage(self, stage: Stage, iteration: int) -> None:
        if (stage, iteration) == self._place:
            return
        self._place = (stage, iteration)
        if self.resuming is not None and stage != "preparing":
            self.event("job.resumed", self.resuming)
            self.resuming = None
        self._beat()
        self._put(lambda session: jobs.enter_stage(session, self._job_id, self._token, stage, iteration))

    def on_progress(self, progress: Progress) -> None:
        self._progress = progress
        self._beat()
        snapshot = plain(asdict(progress))
        self._writer.put_latest(lambda session: jobs.set_progress(session, self._job_id, self._token, snapshot))

    def on_epoch(self, record: EpochRecord) -> None:
        self.event("job.epoch", asdict(record))

    def on_metrics(self, metrics: Sequence[Metric]) -> None:
        rows = [metric_row(metric) for metric in metrics]
        self._put(
            lambda session: metric_rows.upsert(session, self._job_id, self._token, rows), _METRIC_BYTES * len(rows)
        )

    def on_warning(self, code: str, message: str) -> None:
        self._put(lambda session: jobs.add_warning(session, self._job_id, self._token, code, message))

    def on_samples(self, batch: SampleBatch) -> None:
        rows = sample_rows(batch)
        size = sum(row_bytes(row) for row in rows)
        self._put(lambda session: samples.copy_in(session, self._job_id, self._token, rows), size)

    def on_insight(self, insight: Insight) -> None:
        report, maps = insight_row(insight)
        self._put(lambda session: insights.put(session, self._job_id, self._token, report, maps), len(maps))

    def on_resume_point(self, point: ResumePointInfo) -> None:
        # The pipeline removes its older files; a link of our own stays until it is stored.
        self._points += 1
        kept = self._outbox / f"{self._points}.resume"
        _link_or_copy(point.path, kept)
        number, storing = self._points, Storing(self._store, kept)

        def prepare() -> None:
            if number == self._points:  # A newer one waits already, and makes this one useless.
                storing.put()

        def apply(session: Session) -> None:
            if not storing.is_put:
                return
            stored = storing.register(session)
            resume_points.put(
                session,
                self._job_id,
                self._token,
                sha256=stored.sha256,
                size=stored.size,
                stage=point.stage,
                iteration=point.iteration,
                epoch=point.epoch,
                step=point.step,
            )

        self._writer.put(Write(apply, prepare=prepare, cleanup=lambda: kept.unlink(missing_ok=True), optional=True))

    def should_stop(self) -> bool:
        self._beat()
        self._writer.check()
        return self._stopped()

    def event(self, type_: str, data: dict[str, Any]) -> None:
        """Add a line to the job's log."""
        told = plain(data)
        self._put(lambda session: events.append(session, self._job_id, type_, told, token=self._token))

    def manifest(self, manifest: dict[str, Any]) -> None:
        """Store what the run was made with: seed, versions, device, hashes."""
        told = plain(manifest)
        self._put(lambda session: jobs.set_manifest(session, self._job_id, self._token, told))

    def artifact(self, name: str, path: Path, media_type: str) -> None:
        """Store a file for download, and wait for a store that is away: everything else is done.

        `path` must stay until `flush` has returned.
        """
        storing = Storing(self._store, path)

        def apply(session: Session) -> None:
            stored = storing.register(session)
            artifacts.put(session, self._job_id, self._token, name, stored.sha256, stored.size, media_type)

        def cleanup() -> None:
            self._pulse.beat(f"{name} was stored", "evaluating")

        def wait_for_store(make: Callable[[], None]) -> None:
            outlast(make, on_away=on_away, give_up=self._stopped)

        def on_away(error: StoreUnavailable) -> None:
            self._pulse.beat(f"{name} waits for the object store", "evaluating")
            if not self._store_is_away:
                self._store_is_away = True
                self._writer.write_now(lambda session: self._tell_of_the_store(session, f"{name}: {error}"))

        self._writer.put(Write(apply, prepare=storing.put, cleanup=cleanup, outlast=wait_for_store))

    def _tell_of_the_store(self, session: Session, reason: str) -> None:
        message = f"the results wait for the object store, which cannot be reached now ({reason})"
        warning = {"code": "store_unavailable", "message": message}
        events.append(session, self._job_id, "job.warning", warning, token=self._token)

    def _beat(self) -> None:
        stage = "preparing" if self._place is None else self._place[0]
        done = self._progress
        if done is None or (done.stage, done.iteration) != self._place:
            self._pulse.beat(f"{stage} was begun", stage)
        else:
            self._pulse.beat(f"step {done.step} of {done.steps} of epoch {done.epoch} of {done.epochs}", stage)

    def _put(self, apply: Callable[[Session], object], size: int | None = None) -> None:
        self._writer.put(Write(apply) if size is None else Write(apply, size))


def _link_or_copy(source: Path, destination: Path) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)
