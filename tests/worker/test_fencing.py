"""An attempt that lost its lease can put bytes into the object store, but no row will ever refer to them.

Objects are named by the hash of their content, so nothing that a zombie puts can replace or change anything; and what
it put is taken away by housekeeping, since registering it needs the lease.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.callbacks import ResumePointInfo
from persistence import jobs, resume_points
from persistence.database import transaction
from persistence.errors import LeaseLost
from persistence.housekeeping import NO_GRACE, collect, preview
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.tables import Artifact, StoredObject
from tests.worker.conftest import JobMaker
from worker.pulse import Pulse
from worker.recorder import Recorder


@pytest.mark.parametrize("write", ["artifact", "resume_point"])
def test_what_a_zombie_stores_is_referred_to_by_nobody_and_collected(
    sessions: sessionmaker[Session],
    store: ObjectStore,
    settings: Settings,
    make_job: JobMaker,
    tmp_path: Path,
    write: str,
) -> None:
    job_id = make_job()
    with transaction(sessions) as session:
        stale = jobs.claim(session, job_id, worker="zombie", lease_seconds=60.0)
        assert stale is not None
        jobs.hand_back(session, job_id, stale.token, {"code": "worker_lost", "message": "silent"})
        current = jobs.claim(session, job_id, worker="successor", lease_seconds=60.0)
        assert current is not None
    before = {info.sha256 for info in store.list_all()}
    path = tmp_path / "late"
    path.write_bytes(b"what the zombie made")
    lost: list[uuid.UUID] = []

    def write_late() -> None:
        with Recorder(
            sessions,
            store,
            job_id=job_id,
            token=stale.token,
            outbox=tmp_path / "outbox",
            stopped=lambda: False,
            pulse=Pulse(tmp_path),
            on_lease_lost=lambda: lost.append(job_id),
        ) as recorder:
            if write == "artifact":
                recorder.artifact("masktune.safetensors", path, "application/octet-stream")
            else:
                recorder.on_resume_point(ResumePointInfo(path, "training_erm", 0, 1, 0))
            recorder.flush()

    with pytest.raises(LeaseLost):
        write_late()
    assert lost == [job_id], "the process is told at once, and would end"
    (late,) = {info.sha256 for info in store.list_all()} - before
    with transaction(sessions) as session:
        assert session.get(StoredObject, late) is None
        assert session.scalars(select(Artifact).where(Artifact.job_id == job_id)).all() == []
        assert resume_points.newest(session, job_id) == []
    would = preview(sessions, store, settings, NO_GRACE)
    assert (would.orphans, would.objects) == (1, 0)
    assert {info.sha256 for info in store.list_all()} == before | {late}, "a preview takes nothing"
    assert collect(sessions, store, settings, NO_GRACE).orphans == 1
    assert {info.sha256 for info in store.list_all()} == before
