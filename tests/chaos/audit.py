"""What must be true after the storm, whatever died in it."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.config import STAGES
from persistence.database import transaction
from persistence.housekeeping import NO_GRACE, collect
from persistence.tables import (
    Artifact,
    Base,
    Checkpoint,
    Dataset,
    Event,
    Job,
    ResumePoint,
    StageTransition,
    Upload,
)
from tests.chaos.stack import Stack, wait_for
from worker.cache import Cache

SAME_FILES = ("erm.safetensors", "masktune.safetensors", "config.json")
_OF_ATTEMPTS = {"events", "stage_transitions", "resume_points"}  # what happened on the way
_FILES = {"artifacts"}  # result.json tells how long it took
_OBJECT = re.compile(r"[0-9a-f]{64}(\.lock)?")
_NOT_OF_THE_RESULT = {"id", "job_id", "created_at"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a job found, in a form that compares: files by hash, and the rows of every table by its name."""

    files: dict[str, str]
    rows: dict[str, list[str]]
    warnings: list[dict[str, Any]]


def outcome(sessions: sessionmaker[Session], job_id: str) -> Outcome:
    """What a job found. A table that is made one day is in it without anybody remembering."""
    own = uuid.UUID(job_id)
    of_jobs = [table for table in Base.metadata.sorted_tables if _refers_to_jobs(table)]
    with transaction(sessions) as session:
        artifacts = session.scalars(select(Artifact).where(Artifact.job_id == own)).all()
        return Outcome(
            {each.name: each.sha256 if each.name in SAME_FILES else "" for each in artifacts},
            {table.name: _rows(session, table, own) for table in of_jobs if table.name not in _OF_ATTEMPTS | _FILES},
            session.get_one(Job, own).warnings,
        )


def _refers_to_jobs(table: Table) -> bool:
    return any(key.column.table is Job.__table__ for key in table.foreign_keys)


def _rows(session: Session, table: Table, job_id: uuid.UUID) -> list[str]:
    columns = [column for column in table.columns if column.name not in _NOT_OF_THE_RESULT]
    return sorted(repr(tuple(row)) for row in session.execute(select(*columns).where(table.c.job_id == job_id)))


def require_same(found: Outcome, undisturbed: Outcome) -> None:
    """To the last bit: checkpoints, metrics, samples with their counts, insights, and whatever else a job has."""
    assert set(undisturbed.files) > set(SAME_FILES)
    assert found.files == undisturbed.files
    assert {name for name, rows in undisturbed.rows.items() if rows} == set(undisturbed.rows), "a table was not tried"
    for name, rows in undisturbed.rows.items():
        counts = Counter(found.rows[name])
        assert [row for row, count in counts.items() if count > 1] == [], f"a row of {name} came twice"
        assert found.rows[name] == rows, name
    assert found.warnings == undisturbed.warnings


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
    _require_every_stage(sessions, own, events)
    _require_every_epoch([event.data for event in events if event.type == "job.epoch"])
    return len(events)


def _require_every_stage(sessions: sessionmaker[Session], job_id: uuid.UUID, events: Sequence[Event]) -> None:
    """The table of stages tells the same as the log, each attempt forward, the last one to the end."""
    with transaction(sessions) as session:
        rows = session.scalars(
            select(StageTransition)
            .where(StageTransition.job_id == job_id)
            .order_by(StageTransition.attempt, StageTransition.entered_at)
        ).all()
    entered = [(row.attempt, row.stage, row.iteration) for row in rows]
    logged = [(each.attempt, each.data["stage"], each.data["iteration"]) for each in events if each.type == "job.stage"]
    assert entered == logged
    for before, after in pairwise(entered):
        assert before[0] < after[0] or STAGES.index(before[1]) < STAGES.index(after[1]), entered
    assert entered[-1] == (events[-1].attempt, "evaluating", 0)


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
    collect(stack.sessions, stack.store, stack.settings, NO_GRACE)
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
    Cache(stack.home, stack.settings.cache_max_bytes).sweep()
    assert _strays(stack.home / "cache") == [], "everything in the cache is an object or its lock"


def _strays(cache: Path) -> list[Path]:
    return [path for path in _files(cache) if path.parent != cache or not _OBJECT.fullmatch(path.name)]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"] if folder.exists() else []
