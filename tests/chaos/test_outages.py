"""PostgreSQL away in the middle of a job, and the owner's wishes in the middle of one."""

from __future__ import annotations

import time
import uuid
from datetime import datetime

from sqlalchemy import select

from persistence.database import transaction
from persistence.tables import Sweeper
from tests.chaos import client
from tests.chaos.audit import require_whole_log
from tests.chaos.conftest import CONFIG
from tests.chaos.stack import Stack, wait_for
from tests.worker.driving import event_types, read_artifacts, read_events, read_job, wait_event


def test_postgres_stops_and_comes_back_and_nobody_lost_anything(stack: Stack, dataset: str, undisturbed: str) -> None:
    job_id = uuid.UUID(client.submit(stack, dataset, CONFIG, "outage"))
    wait_event(stack.sessions, job_id, "job.epoch", 2)
    trainer = stack.trainer()
    assert trainer is not None
    stack.postgres.stop()
    before = trainer.cpu_times().user  # now, while it has most of its work before it

    refused = stack.client.get(f"/v1/jobs/{job_id}")
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) > 0
    wait_for(lambda: stack.client.get("/readyz").status_code == 503, 5.0, "it says: send no traffic here")
    assert stack.client.get("/healthz").status_code == 200, "but do not restart it"

    longer_than_the_lease = stack.settings.lease_seconds + 1.0
    wait_for(lambda: trainer.cpu_times().user > before, longer_than_the_lease * 4, "it trains on")
    time.sleep(longer_than_the_lease)
    stack.postgres.start()
    job = client.wait_over(stack, str(job_id), 120.0)
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job
    assert read_artifacts(stack.sessions, job_id)["masktune.safetensors"] == undisturbed
    require_whole_log(stack.sessions, str(job_id))


def test_a_rolling_restart_of_every_process_loses_nothing(stack: Stack, dataset: str, undisturbed: str) -> None:
    job_id = uuid.UUID(client.submit(stack, dataset, CONFIG, "rolling"))
    follower = client.Follower(stack, str(job_id))
    wait_event(stack.sessions, job_id, "job.epoch", 2)
    for process in stack.processes:
        process.stop()
        process.start()
    restarted = last_round(stack)
    job = client.wait_over(stack, str(job_id), 180.0)
    assert (job["status"], job["attempt"], job["max_attempts"]) == (
        "succeeded",
        2,
        CONFIG["limits"]["max_attempts"] + 1,
    )
    assert read_artifacts(stack.sessions, job_id)["masktune.safetensors"] == undisturbed
    retried = [
        event.data["error"]["code"] for event in read_events(stack.sessions, job_id) if event.type == "job.retrying"
    ]
    assert retried == ["worker_shutdown"], "handed back by the worker itself, without using up an attempt"
    logged = require_whole_log(stack.sessions, str(job_id))
    assert follower.finish() == list(range(1, logged + 1)), "the stream brought every event once, in order"
    wait_for(lambda: last_round(stack) > restarted, 30.0, "beat and the control worker sweep again")


def last_round(stack: Stack) -> datetime:
    """When the sweeper last began one."""
    with transaction(stack.sessions) as session:
        return session.scalars(select(Sweeper.seen_at)).one()


def test_a_running_job_is_paused_cancelled_and_resumed_to_the_same_bits(
    stack: Stack, dataset: str, undisturbed: str
) -> None:
    path = f"/v1/jobs/{client.submit(stack, dataset, CONFIG, 'wishes')}"
    job_id = uuid.UUID(path.rpartition("/")[2])
    wait_event(stack.sessions, job_id, "job.epoch", 2)
    assert client.ask(stack, "POST", f"{path}/pause")["status"] == "pausing"
    wait_for(lambda: read_job(stack.sessions, job_id).status == "paused", 30.0, "it is paused")
    assert stack.trainer() is None, "a paused job holds no device"
    assert client.ask(stack, "POST", f"{path}/resume")["status"] == "queued"
    wait_event(stack.sessions, job_id, "job.resumed", 1)
    wait_event(stack.sessions, job_id, "job.epoch", event_types(stack.sessions, job_id).count("job.epoch") + 1)
    assert client.ask(stack, "POST", f"{path}/cancel")["status"] == "cancelling"
    assert client.wait_over(stack, str(job_id), 30.0)["status"] == "cancelled"
    follower = client.Follower(stack, str(job_id))
    assert client.ask(stack, "POST", f"{path}/resume")["status"] == "queued"
    job = client.wait_over(stack, str(job_id), 120.0)
    assert (job["status"], job["attempt"], job["error"]) == ("succeeded", 3, None)
    assert read_artifacts(stack.sessions, job_id)["masktune.safetensors"] == undisturbed
    require_whole_log(stack.sessions, str(job_id))
    assert follower.finish()[-1] == job["last_event"], "a stream does not end where the job was cancelled once"
    stages = client.ask(stack, "GET", f"{path}/stages")["data"]
    assert [each["attempt"] for each in stages] == sorted(each["attempt"] for each in stages)
    assert stages[-1]["stage"] == "evaluating"
    assert stages[-1]["left_at"] is not None
