"""Never twice: a machine that was suspended and wakes up, and messages that come more than once."""

from __future__ import annotations

import uuid
from pathlib import Path

import psutil

from persistence.dispatch import Dispatcher
from tests.chaos import client
from tests.chaos.audit import require_whole_log
from tests.chaos.conftest import CONFIG
from tests.chaos.stack import Stack, wait_for
from tests.worker.driving import event_types, read_artifacts, read_events, read_job, wait_event


def test_a_worker_suspended_beyond_its_lease_wakes_up_and_stops_itself(
    stack: Stack, dataset: str, undisturbed: str
) -> None:
    job_id = uuid.UUID(client.submit(stack, dataset, CONFIG, "zombie"))
    wait_event(stack.sessions, job_id, "job.epoch", 3)
    trainer = stack.trainer()
    assert trainer is not None
    stack.worker.freeze()
    successor = stack.add_worker("successor")
    wait_event(stack.sessions, job_id, "job.started", 2)
    wait_for(lambda: _epochs_of(stack, job_id, 2) >= 1, 60.0, "the successor trains")
    trainer.resume()
    stack.worker.thaw()
    wait_for(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE, 30.0, "the zombie ends")
    job = client.wait_over(stack, str(job_id), 120.0)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert read_artifacts(stack.sessions, job_id)["masktune.safetensors"] == undisturbed
    log = read_events(stack.sessions, job_id)
    taken_back = next(event.seq for event in log if event.type == "job.retrying")
    assert [event.type for event in log if event.attempt == 1 and event.seq > taken_back] == [], "nothing of the zombie"
    require_whole_log(stack.sessions, str(job_id))
    for home in (stack.home, stack.home / successor.name):
        wait_for(lambda home=home: not _work_files(home), 30.0, "no working folder is left")  # type: ignore[misc]


def test_one_message_to_two_workers_ten_times_over_is_one_attempt(stack: Stack, dataset: str, undisturbed: str) -> None:
    client.wait_ready(stack)
    job_id = uuid.UUID(client.submit(stack, dataset, CONFIG, "many-messages"))
    dispatcher = Dispatcher(stack.settings)
    assert all(dispatcher.send("job", job_id) for _ in range(10))
    job = client.wait_over(stack, str(job_id), 120.0)
    assert (job["status"], job["attempt"]) == ("succeeded", 1)
    assert event_types(stack.sessions, job_id).count("job.started") == 1
    assert read_artifacts(stack.sessions, job_id)["masktune.safetensors"] == undisturbed
    assert read_job(stack.sessions, job_id).lease_token is None


def _epochs_of(stack: Stack, job_id: uuid.UUID, attempt: int) -> int:
    log = read_events(stack.sessions, job_id)
    return sum(event.type == "job.epoch" and event.attempt == attempt for event in log)


def _work_files(home: Path) -> list[Path]:
    return [path for path in (home / "work").rglob("*") if path.is_file() and path.name != ".lock"]
