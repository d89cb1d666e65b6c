"""What the supervisor makes of a trainer that ends in this way or that. The trainers here are a few lines of Python."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from persistence import jobs
from persistence.database import transaction
from persistence.dispatch import QUEUE_JOBS, broker_app
from persistence.tables import Job
from tests.worker.conftest import JobMaker
from tests.worker.driving import (
    event_types,
    its_time_has_come,
    leftovers,
    read_events,
    read_job,
    wait_event,
    wait_until,
)
from worker.context import Context
from worker.devices import Device, DevicePool
from worker.standby import Standby
from worker.supervisor import run_job

START = "import os, signal, sys, time; from worker import lifeline; told = lifeline.receive()\n"
FAIL = START + (
    "from pathlib import Path; from worker.outcome import Failure, write_outcome\n"
    "print('epoch 3', flush=True)\n"
    "write_outcome(Path(told['work_dir']), Failure('training_diverged', 'the loss is nan', 'finetuning'))\n"
    "sys.exit(70)"
)
LEAVE_MARK = START + "open(os.environ['MARK'], 'a').write('x'); time.sleep(0.3)"
STUCK = START + (
    "import faulthandler, threading; faulthandler.register(signal.SIGUSR1)\n"
    "from pathlib import Path; from worker.pulse import Pulse\n"
    "def wait_for_a_lock_for_ever(): lock = threading.Lock(); lock.acquire(); lock.acquire()\n"
    "Pulse(Path(told['work_dir'])).beat('step 3 of 10', 'masking'); wait_for_a_lock_for_ever()"
)
AWAY = "store_unavailable"
SLEEP = START + "time.sleep(60)"


def trained_by(context: Context, code: str) -> Context:
    return replace(context, trainers=Standby((sys.executable, "-c", code)))


def in_thread(context: Context, job_id: uuid.UUID) -> threading.Thread:
    thread = threading.Thread(target=run_job, args=(context, job_id))
    thread.start()
    return thread


def queued_messages(context: Context) -> int:
    with broker_app(context.settings).connection_for_read() as connection:
        return int(connection.default_channel.client.llen(QUEUE_JOBS))


def test_a_trainer_that_ends_well_leaves_a_job_that_succeeded(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    job_id = make_job()
    run_job(trained_by(context, START), job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.error, job.lease_token) == ("succeeded", None, None)
    assert leftovers(context.settings.home) == []


def test_a_job_is_run_once_however_often_it_is_delivered(
    context: Context,
    sessions: sessionmaker[Session],
    make_job: JobMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    several = trained_by(replace(context, devices=DevicePool([Device("cpu", "")] * 4)), LEAVE_MARK)
    job_id = make_job()
    threads = [in_thread(several, job_id) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert mark.read_text() == "x"
    assert read_job(sessions, job_id).attempt == 1


def test_a_reason_that_no_retry_mends_ends_the_job(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    job_id = make_job()
    run_job(trained_by(context, FAIL), job_id)
    job = read_job(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.pop("advice").startswith("Submit it with a lower erm.optimizer.lr")
    assert job.error == {
        "code": "training_diverged",
        "message": "the loss is nan",
        "stage": "finetuning",
        "retryable": False,
        "log": ["epoch 3"],
    }


def test_a_killed_trainer_is_tried_again_at_once_until_the_attempts_are_used_up(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    suicide = trained_by(context, START + "print('the end', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    job_id = make_job(limits={"max_attempts": 2})
    run_job(suicide, job_id)
    job = read_job(sessions, job_id)
    assert job.status == "queued"
    assert job.error is not None
    assert (job.error["code"], job.error["log"]) == ("trainer_killed", ["the end"])
    assert queued_messages(context) == 1
    run_job(suicide, job_id)
    job = read_job(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["cause"]["code"]) == ("attempts_exhausted", "trainer_killed")
    assert leftovers(context.settings.home) == []


def test_out_of_gpu_memory_is_retried_once_with_half_the_micro_batch(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    too_large = trained_by(context, FAIL.replace("training_diverged", "out_of_gpu_memory"))
    job_id = make_job(limits={"max_attempts": 1})
    run_job(too_large, job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.config["runtime"]["micro_batch"], job.config["erm"]["batch_size"]) == ("queued", 64, 128)
    retrying = read_events(sessions, job_id)[-1]
    assert (retrying.type, retrying.data["error"]["code"]) == ("job.retrying", "out_of_gpu_memory")
    assert retrying.data["changed"] == {"runtime.micro_batch": [None, 64]}
    run_job(too_large, job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.attempt) == ("failed", 2)
    assert job.error is not None
    assert job.error["code"] == "out_of_gpu_memory"
    assert "micro_batch" in job.error["advice"]


@pytest.mark.parametrize(
    ("activity", "changed"),
    [
        (None, {"masking.batch_size": [512, 256]}),  # only the last sign tells what it was doing: masking
        ("training", {"runtime.micro_batch": [None, 64]}),
        ("evaluating", {"masking.batch_size": [512, 256]}),
    ],
)
def test_only_the_batches_that_were_too_large_are_halved(
    context: Context,
    sessions: sessionmaker[Session],
    make_job: JobMaker,
    activity: str | None,
    changed: dict[str, list[int | None]],
) -> None:
    code = START + (
        "from pathlib import Path; from worker.outcome import Failure, write_outcome; from worker.pulse import Pulse\n"
        "folder = Path(told['work_dir']); Pulse(folder).beat('step 3 of 10', 'masking')\n"
        f"write_outcome(folder, Failure('out_of_gpu_memory', 'too large', activity={activity!r})); sys.exit(70)"
    )
    job_id = make_job()
    run_job(trained_by(context, code), job_id)
    told = read_events(sessions, job_id)[-1].data
    assert (told["error"]["code"], told["error"]["stage"]) == ("out_of_gpu_memory", "masking")
    assert told["changed"] == changed
    assert "activity" not in told["error"]


def test_a_segfault_is_told_from_a_kill(context: Context, sessions: sessionmaker[Session], make_job: JobMaker) -> None:
    job_id = make_job()
    run_job(trained_by(context, START + "os.kill(os.getpid(), signal.SIGSEGV)"), job_id)
    error = read_job(sessions, job_id).error
    assert error is not None
    assert error["code"] == "trainer_crashed"
    assert "SIGSEGV" in error["message"]


def test_an_attempt_that_takes_too_long_ends_the_job(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    job_id = make_job(limits={"wall_seconds": 1})
    run_job(trained_by(context, SLEEP), job_id)
    job = read_job(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"]) == ("wall_clock_exceeded", False)


def test_a_trainer_that_got_stuck_tells_where_in_the_last_log_lines(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    job_id = make_job(limits={"stall_seconds": 2, "max_attempts": 1})
    run_job(trained_by(context, STUCK), job_id)
    job = read_job(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    cause = job.error["cause"]
    assert (job.error["code"], cause["code"], cause["stage"]) == ("attempts_exhausted", "trainer_stalled", "masking")
    assert "step 3 of 10" in cause["message"]
    assert any("wait_for_a_lock_for_ever" in line for line in cause["log"])


def test_a_job_cancelled_before_its_delivery_is_not_run(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, tenant: uuid.UUID
) -> None:
    job_id = make_job()
    with transaction(sessions) as session:
        jobs.request_cancel(session, tenant, job_id)
    run_job(trained_by(context, SLEEP), job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.attempt) == ("cancelled", 0)


def test_a_cancellation_that_comes_as_the_trainer_ends_still_counts(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, tenant: uuid.UUID
) -> None:
    # No heartbeat before the end: the supervisor learns of the cancellation only when it settles the attempt.
    slow = replace(
        trained_by(context, START + "time.sleep(0.5)"),
        settings=context.settings.model_copy(update={"heartbeat_seconds": 30.0, "lease_seconds": 60.0}),
    )
    job_id = make_job()
    thread = in_thread(slow, job_id)
    wait_event(sessions, job_id, "job.started")
    with transaction(sessions) as session:
        jobs.request_cancel(session, tenant, job_id)
    thread.join()
    assert read_job(sessions, job_id).status == "cancelled"


def test_a_worker_that_lost_its_lease_stops_and_changes_nothing(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    job_id, other = make_job(), uuid.uuid4()
    thread = in_thread(trained_by(context, SLEEP), job_id)
    wait_event(sessions, job_id, "job.started")
    with transaction(sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_token=other))
    before = event_types(sessions, job_id)
    thread.join(5)
    assert not thread.is_alive()
    job = read_job(sessions, job_id)
    assert (job.status, job.lease_token) == ("running", other)
    assert event_types(sessions, job_id) == before
    assert leftovers(context.settings.home) == []


def test_a_shutdown_hands_the_job_back_without_using_up_an_attempt(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    job_id = make_job(limits={"max_attempts": 1})
    thread = in_thread(trained_by(context, SLEEP), job_id)
    wait_event(sessions, job_id, "job.started")
    began = time.monotonic()
    context.stopping.set()
    thread.join(5)
    assert time.monotonic() - began < 2.0
    assert read_job(sessions, job_id).status == "queued"
    assert read_events(sessions, job_id)[-1].data["error"]["code"] == "worker_shutdown"
    assert queued_messages(context) == 1
    run_job(context, job_id)
    assert read_job(sessions, job_id).status == "queued", "a worker that shuts down takes nothing more"


def test_a_store_that_is_away_uses_up_no_attempt_and_is_not_asked_again_at_once(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    away = trained_by(context, FAIL.replace("'finetuning'", "'finetuning', True").replace("training_diverged", AWAY))
    job_id = make_job(limits={"max_attempts": 1})
    for delay in (5.0, 10.0):
        run_job(away, job_id)
        job, told = read_job(sessions, job_id), read_events(sessions, job_id)[-1]
        assert (job.status, told.type, told.data["error"]["code"]) == ("queued", "job.retrying", AWAY)
        assert told.data["delay_seconds"] == delay
        assert queued_messages(context) == 0
        run_job(away, job_id)
        assert read_job(sessions, job_id).attempt == job.attempt, "its time has not come"
        its_time_has_come(sessions, job_id)
    run_job(trained_by(context, START), job_id)
    assert read_job(sessions, job_id).status == "succeeded"


def test_the_device_is_free_again_after_every_end(context: Context, make_job: JobMaker) -> None:
    for code in (START, FAIL, START + "sys.exit(1)"):
        run_job(trained_by(context, code), make_job())
    with context.devices.lend() as device:
        assert device.name == "cpu"


def test_an_outage_of_the_database_at_the_end_is_waited_for(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, break_database: Callable[[float], None]
) -> None:
    job_id = make_job()
    thread = in_thread(trained_by(context, START + "time.sleep(0.5)"), job_id)
    wait_event(sessions, job_id, "job.started")
    break_database(1.5)
    thread.join(20)
    wait_until(lambda: read_job(sessions, job_id).status == "succeeded")
