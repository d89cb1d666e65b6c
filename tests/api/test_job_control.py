"""Pausing, resuming, priority, stages, the place in the queue and the estimates, as clients see them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from persistence import jobs, resume_points, tenants
from persistence.database import transaction
from persistence.settings import Settings
from persistence.tables import Job, StageTransition, Tenant
from tests.api.seeds import Seeds
from tests.api.test_errors import problem
from tests.fixtures.records import ERROR, job_in

STATES = ("queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled")


@pytest.fixture
def job_that_is(seeds: Seeds) -> Callable[[str], str]:
    """The address of a job of tenant acme in a state."""

    def make(status: str) -> str:
        with transaction(seeds.sessions) as session:
            return f"/v1/jobs/{job_in(session, status, tenant_id=seeds.tenant_id)[0].id}"

    return make


def events(client: TestClient, path: str) -> list[str]:
    return [event["type"] for event in client.get(f"{path}/events").json()["data"]]


def id_of(path: str) -> uuid.UUID:
    return uuid.UUID(path.rpartition("/")[2])


class TestPause:
    def test_a_queued_job_waits_at_once(self, client: TestClient, job_that_is: Callable[[str], str]) -> None:
        path = job_that_is("queued")
        assert client.get(path).json()["queue_position"] == 1
        for _ in range(2):
            answer = client.post(f"{path}/pause")
            assert (answer.status_code, answer.json()["status"]) == (200, "paused")
        assert events(client, path) == ["job.queued", "job.paused"], "asking again changes nothing"
        assert client.get(path).json()["queue_position"] is None

    def test_a_running_job_is_asked_to_stop(self, client: TestClient, job_that_is: Callable[[str], str]) -> None:
        path = job_that_is("running")
        for _ in range(2):
            answer = client.post(f"{path}/pause")
            assert (answer.status_code, answer.json()["status"]) == (200, "pausing")
        assert events(client, path) == ["job.queued", "job.started", "job.pause_requested"]

    @pytest.mark.parametrize("status", ["cancelling", "succeeded", "failed", "cancelled"])
    def test_what_ends_or_has_ended_cannot_be_paused(
        self, client: TestClient, job_that_is: Callable[[str], str], status: str
    ) -> None:
        path = job_that_is(status)
        before = client.get(path).json()
        assert status in problem(client.post(f"{path}/pause"), 409, "job_not_pausable")["detail"]
        assert client.get(path).json() == before


class TestResume:
    @pytest.mark.parametrize("status", ["paused", "failed", "cancelled"])
    def test_a_job_that_stopped_is_queued_again(
        self, client: TestClient, seeds: Seeds, job_that_is: Callable[[str], str], status: str
    ) -> None:
        path = job_that_is(status)
        answer = client.post(f"{path}/resume")
        assert (answer.status_code, answer.json()["status"]) == (200, "queued")
        job = answer.json()
        assert (job["error"], job["finished_at"], job["queue_position"]) == (None, None, 1)
        assert events(client, path)[-1] == "job.resume_requested"
        assert seeds.look(id_of(path)).dispatched_at is not None, "it was sent"

    def test_the_log_says_where_it_will_go_on(self, client: TestClient, seeds: Seeds) -> None:
        job_id = seeds.job()
        token, sha256 = seeds.claim(job_id), seeds.put(b"the state of a run")
        with transaction(seeds.sessions) as session:
            resume_points.put(session, job_id, token, sha256=sha256, size=18, stage="finetuning", epoch=1, step=3)
            jobs.finish(session, job_id, token, "failed", ERROR)
        job = client.post(f"/v1/jobs/{job_id}/resume").json()
        last = client.get(f"/v1/jobs/{job_id}/events").json()["data"][-1]
        point = {"stage": "finetuning", "epoch": 1, "step": 3}
        assert last["data"] == {"from": "failed", "point": point}
        assert (job["attempt"], job["max_attempts"]) == (1, 4), "its attempts start anew"

    @pytest.mark.parametrize("status", ["queued", "running"])
    def test_a_job_that_is_on_its_way_is_left_alone(
        self, client: TestClient, job_that_is: Callable[[str], str], status: str
    ) -> None:
        path = job_that_is(status)
        before = events(client, path)
        answer = client.post(f"{path}/resume")
        assert (answer.status_code, answer.json()["status"]) == (200, status)
        assert events(client, path) == before

    @pytest.mark.parametrize("status", ["pausing", "cancelling", "succeeded"])
    def test_a_job_that_has_not_stopped_or_is_done_cannot_be_resumed(
        self, client: TestClient, job_that_is: Callable[[str], str], status: str
    ) -> None:
        path = job_that_is(status)
        before = client.get(path).json()
        assert status in problem(client.post(f"{path}/resume"), 409, "job_not_resumable")["detail"]
        assert client.get(path).json() == before

    def test_a_job_whose_data_set_is_gone_cannot_be_resumed(
        self, client: TestClient, job_that_is: Callable[[str], str]
    ) -> None:
        path = job_that_is("cancelled")
        dataset = client.get(path).json()["dataset_id"]
        assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
        assert "submit a new job" in problem(client.post(f"{path}/resume"), 409, "job_not_resumable")["detail"]

    def test_a_finished_job_takes_a_place_of_the_tenants_quota_and_a_paused_one_has_it_already(
        self, client: TestClient, sessions: sessionmaker[Session], job_that_is: Callable[[str], str]
    ) -> None:
        paused, cancelled = job_that_is("paused"), job_that_is("cancelled")
        with transaction(sessions) as session:
            session.execute(update(Tenant).where(Tenant.name == "acme").values(quota_jobs=1))
        document = problem(client.post(f"{cancelled}/resume"), 429, "too_many_jobs")
        assert (document["limit"], document["usage"]) == (1, 1)
        assert client.get(cancelled).json()["status"] == "cancelled"
        assert client.post(f"{paused}/resume").json()["status"] == "queued"

    def test_the_document_names_the_answers_that_it_gives(self, client: TestClient) -> None:
        responses = client.get("/openapi.json").json()["paths"]["/v1/jobs/{job_id}/resume"]["post"]["responses"]
        told = {status: json.dumps(response) for status, response in responses.items()}
        assert "job_not_found" in told["404"]
        assert "job_not_resumable" in told["409"]
        assert "too_many_jobs" in told["429"]
        assert not any("quota_exceeded" in text for text in told.values())


@pytest.mark.parametrize("action", ["pause", "resume"])
@pytest.mark.parametrize("status", STATES)
def test_a_stranger_and_a_read_key_change_nothing(
    client: TestClient,
    stranger: dict[str, str],
    make_key: Callable[..., str],
    job_that_is: Callable[[str], str],
    action: str,
    status: str,
) -> None:
    path = job_that_is(status)
    before, log = client.get(path).json(), events(client, path)
    problem(client.post(f"{path}/{action}", headers=stranger), 404, "job_not_found")
    reader = {"Authorization": f"Bearer {make_key('acme', scope='read')}"}
    problem(client.post(f"{path}/{action}", headers=reader), 403, "insufficient_scope")
    after = client.get(path).json()
    assert (after["status"], after["last_event"], events(client, path)) == (status, before["last_event"], log)


class TestQueue:
    def submit(self, client: TestClient, dataset: uuid.UUID, **body: Any) -> Any:
        response = client.post("/v1/jobs", json={"dataset_id": str(dataset), **body})
        assert response.status_code == 201, response.text
        return response.json()

    def test_priority_orders_the_tenants_own_jobs_and_shows_in_their_places(
        self, client: TestClient, seeds: Seeds
    ) -> None:
        dataset = seeds.dataset()
        plain = self.submit(client, dataset)
        low = self.submit(client, dataset, priority=-1)
        high = self.submit(client, dataset, priority=100)
        assert (plain["priority"], low["priority"], high["priority"]) == (0, -1, 100)
        listed = {job["id"]: job["queue_position"] for job in client.get("/v1/jobs").json()["data"]}
        assert listed == {high["id"]: 1, plain["id"]: 2, low["id"]: 3}
        with transaction(seeds.sessions) as session:
            claim = jobs.claim_next(session, worker="worker", lease_seconds=60.0)
            assert claim is not None
            assert str(claim.job.id) == high["id"]
        assert client.get(f"/v1/jobs/{high['id']}").json()["queue_position"] is None
        assert client.get(f"/v1/jobs/{low['id']}").json()["queue_position"] == 2

    @pytest.mark.parametrize("priority", [101, -101, "first", None])
    def test_a_priority_out_of_bounds_is_refused(self, client: TestClient, seeds: Seeds, priority: Any) -> None:
        body = {"dataset_id": str(seeds.dataset()), "priority": priority}
        document = problem(client.post("/v1/jobs", json=body), 422, "invalid_request")
        assert document["errors"][0]["pointer"] == "/priority"

    def test_another_tenants_jobs_count_in_the_place(
        self, client: TestClient, seeds: Seeds, sessions: sessionmaker[Session]
    ) -> None:
        mine = self.submit(client, seeds.dataset())
        with transaction(sessions) as session:
            job_in(session, "queued", tenant_id=tenants.get_or_create(session, "other").id)
        places = {mine["queue_position"], client.get(f"/v1/jobs/{mine['id']}").json()["queue_position"]}
        assert places <= {1, 2}
        assert len(client.get("/v1/jobs").json()["data"]) == 1, "but they are not shown"

    def test_nothing_is_estimated_before_a_job_of_its_kind_has_run(self, client: TestClient, seeds: Seeds) -> None:
        job = self.submit(client, seeds.dataset())
        assert (job["queue_position"], job["estimated_start_at"], job["estimated_finish_at"]) == (1, None, None)

    def test_start_and_finish_are_estimated_from_a_job_that_ran(self, client: TestClient, seeds: Seeds) -> None:
        dataset = seeds.dataset()
        self.ran(seeds, dataset, {"preparing": 5.0, "training_erm": 60.0, "masking": 5.0, "finetuning": 20.0})
        running, waiting = self.submit(client, dataset), self.submit(client, dataset)
        seeds.claim(uuid.UUID(running["id"]))
        running, waiting = (client.get(f"/v1/jobs/{job['id']}").json() for job in (running, waiting))
        ends = datetime.fromisoformat(running["estimated_finish_at"])
        assert timedelta(seconds=60) < ends - datetime.now(UTC) < timedelta(seconds=120)
        assert running["estimated_start_at"] is None
        begins = datetime.fromisoformat(waiting["estimated_start_at"])
        assert abs(begins - ends) < timedelta(seconds=10), "when the one before it ends"
        assert datetime.fromisoformat(waiting["estimated_finish_at"]) - begins > timedelta(seconds=60)

    def ran(self, seeds: Seeds, dataset: uuid.UUID, seconds: dict[str, float]) -> None:
        job_id = seeds.job(dataset)
        seeds.finish(job_id, seeds.claim(job_id))
        ended = seeds.look(job_id).finished_at
        assert ended is not None
        at = ended - timedelta(seconds=sum(seconds.values()) + 10.0)
        with transaction(seeds.sessions) as session:
            for stage, taken in [*seconds.items(), ("evaluating", 10.0)]:
                iteration = int(stage in ("masking", "finetuning"))
                session.add(StageTransition(job_id=job_id, attempt=1, stage=stage, iteration=iteration, entered_at=at))
                at += timedelta(seconds=taken)


class TestLimitOfTheSettings:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"tenant_max_running": 1})

    def test_a_job_that_its_tenant_may_not_run_yet_has_its_place_behind_those_that_may(
        self, client: TestClient, seeds: Seeds
    ) -> None:
        with transaction(seeds.sessions) as session:
            third, other = (tenants.get_or_create(session, name) for name in ("third", "other"))
            other.quota_running = 5
            for running in (third.id, seeds.tenant_id, other.id, other.id):
                job_in(session, "running", tenant_id=running)
            mine, _ = job_in(session, "queued", tenant_id=seeds.tenant_id)
            job_in(session, "queued", tenant_id=other.id)
        assert client.get(f"/v1/jobs/{mine.id}").json()["queue_position"] == 2


class TestStages:
    def test_every_attempt_tells_when_it_entered_and_left_its_stages(
        self, client: TestClient, make_key: Callable[..., str], stranger: dict[str, str], seeds: Seeds
    ) -> None:
        job_id = seeds.job()
        path = f"/v1/jobs/{job_id}/stages"
        assert client.get(path).json() == {"data": []}
        token = seeds.claim(job_id)
        self.enter(seeds, job_id, token, ("preparing", 0), ("training_erm", 0))
        first = client.get(path).json()["data"]
        assert [(each["attempt"], each["stage"], each["iteration"]) for each in first] == [
            (1, "preparing", 0),
            (1, "training_erm", 0),
        ]
        assert first[0]["left_at"] == first[1]["entered_at"]
        assert first[1]["left_at"] is None, "it lasts"
        with transaction(seeds.sessions) as session:
            jobs.hand_back(session, job_id, token, ERROR)
        token = seeds.claim(job_id)
        self.enter(seeds, job_id, token, ("training_erm", 0), ("masking", 1))
        seeds.finish(job_id, token)
        every = client.get(path).json()["data"]
        assert [(each["attempt"], each["stage"]) for each in every[1:]] == [
            (1, "training_erm"),
            (2, "training_erm"),
            (2, "masking"),
        ]
        assert every[1]["entered_at"] < every[1]["left_at"] < every[2]["entered_at"], "when it was handed back"
        assert every[-1]["left_at"] == client.get(f"/v1/jobs/{job_id}").json()["finished_at"]
        reader = {"Authorization": f"Bearer {make_key('acme', scope='read')}"}
        assert client.get(path, headers=reader).json()["data"] == every
        problem(client.get(path, headers=stranger), 404, "job_not_found")

    def enter(self, seeds: Seeds, job_id: uuid.UUID, token: uuid.UUID, *stages: tuple[Any, int]) -> None:
        for stage, iteration in stages:
            with transaction(seeds.sessions) as session:
                jobs.enter_stage(session, job_id, token, stage, iteration)


def test_the_running_time_of_earlier_attempts_is_told(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    token = seeds.claim(job_id)
    with transaction(seeds.sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(claimed_at=Job.claimed_at - timedelta(seconds=90)))
    with transaction(seeds.sessions) as session:
        jobs.hand_back(session, job_id, token, ERROR)
    assert 90.0 <= client.get(f"/v1/jobs/{job_id}").json()["ran_seconds"] < 300.0
