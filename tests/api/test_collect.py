"""Housekeeping on the command line: what goes is what the settings say, and a dry run says it without taking any."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from api.collect import main
from persistence import jobs, resume_points, tenants
from persistence.database import transaction
from persistence.settings import Settings, get_settings
from persistence.store import ObjectStore
from persistence.tables import Job, ResumePoint, Upload
from tests.api.seeds import Seeds
from tests.api.test_isolation import nothing_changes
from tests.fixtures.records import claim_job, make_job

NOTHING = {
    "uploads": 0,
    "jobs": 0,
    "resume_points": 0,
    "objects": 0,
    "object_bytes": 0,
    "orphans": 0,
    "orphan_bytes": 0,
    "staged": 0,
}
POINT = b"weights so far"


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKTUNE_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("MASKTUNE_REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("MASKTUNE_HOME", str(settings.home))
    get_settings.cache_clear()


@pytest.fixture
def seeds(sessions: sessionmaker[Session], store: ObjectStore) -> Seeds:
    with transaction(sessions) as session:
        return Seeds(sessions, store, tenants.get_or_create(session, "acme").id)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What one run tells."""
    get_settings.cache_clear()
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def ended_job(seeds: Seeds, status: str, ago: timedelta) -> uuid.UUID:
    """A job that ended so long ago, and left a resume point with bytes of its own."""
    with transaction(seeds.sessions) as session:
        job = make_job(session, seeds.tenant_id, dataset_id=seeds.dataset())
        token = claim_job(session, job.id).token
    sha256 = seeds.put(POINT + job.id.bytes)
    with transaction(seeds.sessions) as session:
        resume_points.put(
            session,
            job.id,
            token,
            sha256=sha256,
            size=len(POINT) + 16,
            stage="finetuning",
            iteration=1,
            epoch=1,
            step=0,
        )
        if status == "cancelled":
            jobs.request_cancel(session, seeds.tenant_id, job.id)
        jobs.finish(session, job.id, token, status)  # type: ignore[arg-type]  # any state that ends a job
        session.execute(update(Job).where(Job.id == job.id).values(finished_at=func.now() - ago))
    return job.id


def left(seeds: Seeds, ids: list[uuid.UUID]) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Which of the jobs are still there, and which of them have resume points."""
    with transaction(seeds.sessions) as session:
        there = set(session.scalars(select(Job.id)))
        resumable = set(session.scalars(select(ResumePoint.job_id)))
    return [job_id for job_id in ids if job_id in there], [job_id for job_id in ids if job_id in resumable]


def test_jobs_are_kept_for_ever_unless_told_otherwise(capsys: pytest.CaptureFixture[str], seeds: Seeds) -> None:
    ids = [ended_job(seeds, "failed", timedelta(days=3000)), seeds.job()]
    assert run(capsys)["jobs"] == 0
    assert left(seeds, ids)[0] == ids


def test_jobs_go_when_they_ended_longer_ago_than_the_setting_says(
    capsys: pytest.CaptureFixture[str], seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKTUNE_RETAIN_JOBS_DAYS", "30")
    over, fresh = timedelta(days=30, minutes=1), timedelta(days=29, hours=23)
    gone = [ended_job(seeds, status, over) for status in ("succeeded", "failed", "cancelled")]
    kept = [ended_job(seeds, status, fresh) for status in ("succeeded", "failed", "cancelled")]
    waiting = seeds.job()
    with transaction(seeds.sessions) as session:
        session.execute(update(Job).where(Job.id == waiting).values(created_at=func.now() - timedelta(days=3000)))
    assert run(capsys)["jobs"] == 3
    assert left(seeds, [*gone, *kept, waiting])[0] == [*kept, waiting]
    assert run(capsys)["jobs"] == 0


def test_resume_points_go_with_success_or_when_the_setting_says(
    capsys: pytest.CaptureFixture[str], seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKTUNE_RETAIN_RESUME_HOURS", "5")
    over, fresh = timedelta(hours=5, minutes=1), timedelta(hours=4, minutes=59)
    gone = [ended_job(seeds, *each) for each in (("succeeded", timedelta(0)), ("failed", over), ("cancelled", over))]
    kept = [ended_job(seeds, status, fresh) for status in ("failed", "cancelled")]
    assert run(capsys)["resume_points"] == 3
    assert left(seeds, [*gone, *kept]) == ([*gone, *kept], kept)
    assert run(capsys)["resume_points"] == 0


def test_a_dry_run_says_what_would_go_and_takes_nothing(
    capsys: pytest.CaptureFixture[str],
    seeds: Seeds,
    store: ObjectStore,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASKTUNE_RETAIN_JOBS_DAYS", "1")
    job_id = ended_job(seeds, "failed", timedelta(days=2))
    expired = seeds.upload()
    with transaction(sessions) as session:
        session.execute(update(Upload).where(Upload.id == expired).values(expires_at=func.now()))
    with store.writer() as writer:
        writer.write(b"nobody knows these")
        orphan = writer.commit()

    with nothing_changes(sessions, store, "a dry run"):
        careful, bold = run(capsys, "--dry-run"), run(capsys, "--dry-run", "--idle")
    assert careful == {**NOTHING, "uploads": 1, "jobs": 1, "resume_points": 0}, "bytes that are fresh have a grace"
    assert (bold["orphans"], bold["orphan_bytes"]) == (1, len(b"nobody knows these"))
    assert bold["object_bytes"] >= len(POINT) + 16

    assert run(capsys, "--idle") == bold
    assert left(seeds, [job_id]) == ([], [])
    assert orphan.sha256 not in {info.sha256 for info in store.list_all()}
    assert run(capsys, "--idle") == NOTHING


def test_people_are_told_a_number_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run"]) == 0
    told = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert told == {name: str(count) for name, count in NOTHING.items()}
