"""What must be true after the storm, whatever died in it."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from persistence.database import transaction
from persistence.housekeeping import Graces, collect
from persistence.tables import Artifact, Base, Checkpoint, Dataset, Event, Job, Metric, ResumePoint, Sample, Upload
from tests.chaos.stack import Stack, wait_for

_NOTHING = timedelta(0)
_NO_GRACE = Graces(_NOTHING, _NOTHING, _NOTHING)
CHECKPOINTS = ("erm.safetensors", "masktune.safetensors")


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a job found, in a form that compares."""

    checkpoints: dict[str, str]
    metrics: list[tuple[Any, ...]]
    samples: list[tuple[Any, ...]]


def outcome(sessions: sessionmaker[Session], job_id: str) -> Outcome:
    """Checkpoints by hash, and every number and sample."""
    own = uuid.UUID(job_id)
    with transaction(sessions) as session:
        artifacts = session.scalars(select(Artifact).where(Artifact.job_id == own)).all()
        return Outcome(
            {each.name: each.sha256 for each in artifacts if each.name in CHECKPOINTS},
            sorted(_rows(session, Metric, own), key=repr),
            sorted(_rows(session, Sample, own)),
        )


def _rows(session: Session, table: type[Base], job_id: uuid.UUID) -> list[tuple[Any, ...]]:
    columns = [column for column in table.__table__.columns if column.name not in ("id", "job_id")]
    found = session.execute(select(*columns).where(table.__table__.c.job_id == job_id))
    return [tuple(row) for row in found]


def require_same(found: Outcome, undisturbed: Outcome) -> None:
    """To the last bit: checkpoints, metrics, samples."""
    assert set(undisturbed.checkpoints) == set(CHECKPOINTS)
    assert found.checkpoints == undisturbed.checkpoints
    keys = Counter(row[:-2] for row in found.metrics)
    assert [key for key, count in keys.items() if count > 1] == [], "a metric came twice"
    assert found.metrics == undisturbed.metrics
    assert [row[0] for row in found.samples] == list(range(len(undisturbed.samples))), "one row for each image"
    assert found.samples == undisturbed.samples


def require_whole_log(sessions: sessionmaker[Session], job_id: str) -> int:
    """Numbers without a gap, one beginning and one end, no line twice, and every epoch in order. Returns how many."""
    own = uuid.UUID(job_id)
    with transaction(sessions) as session:
        events = session.scalars(select(Event).where(Event.job_id == own).order_by(Event.seq)).all()
        job = session.get_one(Job, own)
    assert [event.seq for event in events] == list(range(1, job.event_seq + 1))
    types = [event.type for event in events]
    assert types[0] == "job.queued"
    assert types[-1] == "job.succeeded"
    assert types.count("job.succeeded") == 1
    starts = [event.attempt for event in events if event.type == "job.started"]
    assert starts == list(range(1, job.attempt + 1)), "every attempt began once"
    once = ("job.epoch", "job.stage", "job.artifact", "job.resumed")
    lines = [(event.attempt, event.type, repr(event.data)) for event in events if event.type in once]
    assert [line for line, count in Counter(lines).items() if count > 1] == [], "an attempt logged a line twice"
    _require_every_epoch([event.data for event in events if event.type == "job.epoch"])
    return len(events)


def _require_every_epoch(epochs: list[dict[str, Any]]) -> None:
    """An epoch may come again in a later attempt, when its resume point was lost with the process; none is left out."""
    for place in {(epoch["stage"], epoch["iteration"]) for epoch in epochs}:
        own = [epoch for epoch in epochs if (epoch["stage"], epoch["iteration"]) == place]
        numbers = [epoch["epoch"] for epoch in own]
        assert numbers[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(numbers)), numbers
        assert set(numbers) == set(range(1, own[0]["epochs"] + 1))
        results = {(epoch["epoch"], epoch["loss"], epoch["accuracy"], epoch["val_accuracy"]) for epoch in own}
        assert len(results) == own[0]["epochs"], "an epoch that came again gave other numbers"


def require_nothing_left(stack: Stack) -> None:
    """No lease, no working folder, and after housekeeping without grace no byte that no row refers to."""
    with transaction(stack.sessions) as session:
        for table in (Job, Dataset, Checkpoint):
            assert session.scalars(select(table.id).where(table.lease_token.is_not(None))).all() == []
    work = stack.home / "work"
    wait_for(lambda: not _files(work), 30.0, "working folders are gone")
    collect(stack.sessions, stack.store, stack.settings, _NO_GRACE)
    with transaction(stack.sessions) as session:
        columns = (
            Upload.sha256,
            Dataset.source_sha256,
            Dataset.archive_sha256,
            Checkpoint.source_sha256,
            Checkpoint.content_sha256,
            Artifact.sha256,
            ResumePoint.sha256,
        )
        needed = {sha256 for column in columns for sha256 in session.scalars(select(column)) if sha256 is not None}
    assert {info.sha256 for info in stack.store.list_all()} == needed
    assert _files(stack.home / "objects" / "staging") == []
    assert not [path for path in _files(stack.home / "cache") if path.suffix == ".part"]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"] if folder.exists() else []
