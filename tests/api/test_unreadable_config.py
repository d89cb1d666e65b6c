"""A job whose configuration another version wrote can be seen like any other."""

from __future__ import annotations

import uuid

from sqlalchemy import update
from starlette.testclient import TestClient

from api import cookies
from persistence import browser_sessions
from persistence.database import transaction
from persistence.tables import Job
from tests.api.seeds import Seeds


def spoilt(seeds: Seeds, job_id: uuid.UUID) -> dict[str, object]:
    """Give a job a configuration of tomorrow; returns it."""
    with transaction(seeds.sessions) as session:
        stored = dict(session.get_one(Job, job_id).config)
        stored["erm"] = {**stored["erm"], "lookahead": True}
        session.execute(update(Job).where(Job.id == job_id).values(config=stored))
    return stored


def test_it_is_listed_and_shown_as_it_was_stored(client: TestClient, seeds: Seeds) -> None:
    readable, job_id = seeds.job(), seeds.job()
    stored = spoilt(seeds, job_id)
    listed = {job["id"]: job for job in client.get("/v1/jobs").json()["data"]}
    assert set(listed) == {str(readable), str(job_id)}
    assert listed[str(job_id)]["config"] == client.get(f"/v1/jobs/{job_id}").json()["config"] == stored
    assert listed[str(job_id)]["estimated_finish_at"] is None
    assert "lookahead" not in listed[str(readable)]["config"]["erm"]
    assert client.get(f"/v1/jobs/{job_id}/samples").status_code == 200


def test_its_pages_are_shown(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    spoilt(seeds, job_id)
    with transaction(seeds.sessions) as session:
        _, token = browser_sessions.create(session, seeds.tenant_id)
    del client.headers["Authorization"]
    client.cookies.set(cookies.SESSION, token)
    for path in ("/jobs", f"/jobs/{job_id}", f"/jobs/new?clone={job_id}"):
        page = client.get(path)
        assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html"), path
