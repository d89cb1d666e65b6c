"""The files of a job: artifacts for its owner, resume points for its next attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from persistence import artifacts, events, jobs, resume_points
from persistence.errors import NotFound
from tests.fixtures.records import claim_job, job_in, make_job, make_object


def test_resume_points_keep_the_newest_two_and_go_with_the_end(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    hashes = [make_object(session) for _ in range(4)]
    for epoch, sha256 in enumerate(hashes):
        resume_points.put(
            session, job.id, token, sha256=sha256, size=5, stage="finetuning", iteration=2, epoch=epoch, step=1
        )
    points = resume_points.newest(session, job.id)
    assert [(point.sha256, point.epoch, point.iteration, point.seq) for point in points] == [
        (hashes[3], 3, 2, 4),
        (hashes[2], 2, 2, 3),
    ]
    assert resume_points.forget_finished(session, timedelta(hours=1)) == 0
    jobs.finish(session, job.id, token, "succeeded")
    assert resume_points.forget_finished(session, timedelta(hours=1)) == 2
    assert resume_points.newest(session, job.id) == []


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_the_points_of_a_job_that_may_be_resumed_are_kept_for_a_while(session: Session, status: str) -> None:
    job, token = job_in(session, "running" if status == "failed" else "cancelling")
    resume_points.put(
        session, job.id, token, sha256=make_object(session), size=1, stage="training_erm", epoch=1, step=0
    )
    jobs.finish(session, job.id, token, status)  # type: ignore[arg-type]  # parametrised
    assert resume_points.forget_finished(session, timedelta(hours=1)) == 0
    assert resume_points.forget_finished(session, timedelta(hours=-1)) == 1


def test_an_artifact_of_the_same_name_replaces_the_one_before(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    for size in (1, 2):
        artifacts.put(session, job.id, token, "erm.safetensors", make_object(session), size, "application/octet-stream")
    artifacts.put(session, job.id, token, "config.json", make_object(session), 3, "application/json")
    assert [(row.name, row.size) for row in artifacts.list_all(session, job.id)] == [
        ("config.json", 3),
        ("erm.safetensors", 2),
    ]
    assert artifacts.get(session, job.id, "config.json").media_type == "application/json"
    with pytest.raises(NotFound, match="no artifact nothing"):
        artifacts.get(session, job.id, "nothing")
    assert events.page(session, job.id).rows[-1].data["name"] == "config.json"
