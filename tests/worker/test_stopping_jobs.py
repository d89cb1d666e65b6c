"""Stopping the real trainer, in whatever stage it is."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
import uuid
from dataclasses import replace

import psutil
import pytest
from sqlalchemy.orm import Session, sessionmaker

from masktune_core import pipeline
from masktune_core.config import STAGES
from persistence import jobs, resume_points
from persistence.database import transaction
from persistence.store import ObjectStore
from tests.worker.conftest import JobMaker
from tests.worker.driving import (
    event_types,
    leftovers,
    read_artifacts,
    read_events,
    read_job,
    wait_finished,
    wait_until,
)
from worker.context import Context
from worker.standby import Standby
from worker.supervisor import run_job

_STALL_SECONDS = 20  # longer than a busy machine takes to load torch, which is the longest silence of the real trainer


def run_held(context: Context, job_id: uuid.UUID, stage: str) -> threading.Thread:
    trainer = (sys.executable, "-m", "tests.worker.held_trainer", stage)
    held = replace(context, trainers=Standby(trainer))
    thread = threading.Thread(target=run_job, args=(held, job_id))
    thread.start()
    return thread


def is_in(sessions: sessionmaker[Session], job_id: uuid.UUID, stage: str) -> bool:
    return read_job(sessions, job_id).stage == stage


@pytest.mark.parametrize("stage", STAGES)
def test_a_job_is_cancelled_within_five_seconds_in_every_stage(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, tenant: uuid.UUID, stage: str
) -> None:
    job_id = make_job(erm={"epochs": 1})
    thread = run_held(context, job_id, stage)
    wait_until(lambda: is_in(sessions, job_id, stage), 60)
    began = time.monotonic()
    with transaction(sessions) as session:
        jobs.request_cancel(session, tenant, job_id)
    job = wait_finished(sessions, job_id)
    assert time.monotonic() - began < 5.0
    assert (job.status, job.error, job.stage) == ("cancelled", None, stage)
    assert event_types(sessions, job_id)[-1] == "job.cancelled"
    assert "masktune.safetensors" not in read_artifacts(sessions, job_id)
    thread.join()
    assert leftovers(context.settings.home) == []


def test_a_job_that_does_not_fit_the_disk_is_refused_before_it_trains(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKTUNE_DISK_HEADROOM_BYTES", str(2**60))
    job_id = make_job(limits={"max_attempts": 1})
    run_job(context, job_id)
    job = read_job(sessions, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["stage"]) == ("out_of_disk", "preparing")
    assert "MiB must stay free" in job.error["message"]
    assert job.error["advice"].startswith("Free space")
    assert job.error["log"]


def test_a_trainer_that_hangs_while_its_worker_lives_is_ended_and_the_job_goes_on(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, alone: pipeline.Result
) -> None:
    impatient = replace(context, settings=context.settings.model_copy(update={"shutdown_grace_seconds": 0.5}))
    job_id = make_job(limits={"stall_seconds": _STALL_SECONDS})
    thread = run_held(impatient, job_id, "finetuning")
    wait_until(lambda: is_in(sessions, job_id, "finetuning"), 120)
    (trainer,) = (child for child in psutil.Process().children() if "held_trainer" in " ".join(child.cmdline()))
    trainer.suspend()
    thread.join(_STALL_SECONDS + 60.0)
    assert not trainer.is_running()
    job = read_job(sessions, job_id)
    assert (job.status, job.attempt) == ("queued", 1)
    assert job.error is not None
    assert (job.error["code"], job.error["stage"], job.error["retryable"]) == ("trainer_stalled", "finetuning", True)
    assert f"no sign of progress for {_STALL_SECONDS} s" in job.error["message"]
    assert "finetuning was begun" in job.error["message"], "the last sign"
    assert "hanging" in job.error["advice"]
    retrying = read_events(sessions, job_id)[-1]
    assert (retrying.type, retrying.data["error"]["code"]) == ("job.retrying", "trainer_stalled")
    run_job(context, job_id)
    job = read_job(sessions, job_id)
    assert (job.status, job.attempt) == ("succeeded", 2)
    bits = hashlib.sha256(alone.artifacts["masktune.safetensors"].read_bytes()).hexdigest()
    assert read_artifacts(sessions, job_id)["masktune.safetensors"] == bits


@pytest.mark.parametrize("damaged", [False, True])
def test_a_shutdown_in_the_middle_leaves_resume_points_from_which_the_job_goes_on_to_the_same_bits(
    context: Context,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    make_job: JobMaker,
    alone: pipeline.Result,
    damaged: bool,
) -> None:
    job_id = make_job()
    thread = run_held(context, job_id, "finetuning")
    wait_until(lambda: is_in(sessions, job_id, "finetuning"), 60)
    context.stopping.set()
    thread.join()
    assert read_job(sessions, job_id).status == "queued"
    with transaction(sessions) as session:
        newest, before = resume_points.newest(session, job_id)
    assert newest.stage == "finetuning"
    if damaged:
        path = store.local_path(newest.sha256)
        assert path is not None
        path.chmod(0o600)
        path.write_bytes(b"damaged")
    context.stopping.clear()
    run_job(context, job_id)
    job = read_job(sessions, job_id)
    assert job.status == "succeeded"
    bits = hashlib.sha256(alone.artifacts["masktune.safetensors"].read_bytes()).hexdigest()
    assert read_artifacts(sessions, job_id)["masktune.safetensors"] == bits
    second = [event for event in read_events(sessions, job_id) if event.attempt == 2]
    (resumed,) = (event.data for event in second if event.type == "job.resumed")
    point = before if damaged else newest
    assert (resumed["stage"], resumed["epoch"], resumed["step"]) == (point.stage, point.epoch, point.step)
    assert [warning["code"] for warning in job.warnings].count("resume_point_unusable") == damaged
