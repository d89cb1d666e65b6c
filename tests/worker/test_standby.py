"""Trainers that wait: taken once each, replaced when dead, never left behind; and jobs that use them."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.worker.conftest import JobMaker
from tests.worker.driving import Worker, read_artifacts, read_job, wait_finished, wait_until
from worker.child import Child
from worker.context import TRAINER, Context
from worker.devices import Device
from worker.lifeline import AT_WORK
from worker.standby import Standby
from worker.supervisor import run_job

CPU, GPU = Device("cpu", ""), Device("cuda:0", "0")
ECHO = (
    "import os; from worker import lifeline; print('loaded', flush=True); told = lifeline.receive()\n"
    "print(told['answer'], os.environ['CUDA_VISIBLE_DEVICES'])"
)


@pytest.fixture
def standby() -> Iterator[Standby]:
    made = Standby((sys.executable, "-c", ECHO), (CPU, GPU))
    yield made
    made.close()


def waiting() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if ECHO in command_of(child)]


def command_of(child: psutil.Process) -> list[str]:
    """For a moment after its start a process has no command line yet."""
    return wait_until(lambda: ["gone"] if child.status() == psutil.STATUS_ZOMBIE else child.cmdline(), 10)


def finished(child: Child) -> tuple[int, tuple[str, ...]]:
    child.wait(20)
    return child.close(), child.log


def test_the_waiting_trainer_takes_the_attempt_and_no_second_one(standby: Standby) -> None:
    standby.prepare(CPU)
    (ready,) = waiting()
    first, second = (standby.start(CPU, {"answer": answer}) for answer in (1, 2))
    assert first.pid == ready.pid != second.pid
    assert [finished(child) for child in (first, second)] == [(0, ("loaded", "1")), (0, ("loaded", "2"))]


def test_a_trainer_waits_for_its_own_device_only(standby: Standby) -> None:
    standby.prepare(GPU)
    (ready,) = waiting()
    on_cpu, on_gpu = standby.start(CPU, {"answer": 1}), standby.start(GPU, {"answer": 2})
    assert on_gpu.pid == ready.pid
    assert [finished(child)[1][1] for child in (on_cpu, on_gpu)] == ["1", "2 0"]


def test_no_more_wait_for_a_device_than_it_takes_jobs(standby: Standby) -> None:
    # A job that came before the worker had begun to prepare was run by a trainer of its own.
    for _ in range(3):
        standby.prepare(CPU)
    assert len(waiting()) == 1
    two = Standby((sys.executable, "-c", ECHO), (CPU, CPU))
    try:
        for _ in range(3):
            two.prepare(CPU)
        assert len(waiting()) == 1 + 2
    finally:
        two.close()


def test_one_that_died_while_it_waited_is_replaced(standby: Standby) -> None:
    standby.prepare(CPU)
    (ready,) = waiting()
    ready.kill()
    wait_until(lambda: not ready.is_running() or ready.status() == psutil.STATUS_ZOMBIE, 10)
    assert finished(standby.start(CPU, {"answer": 3})) == (0, ("loaded", "3"))


def test_none_is_left_after_closing_and_none_is_started(standby: Standby) -> None:
    standby.prepare(CPU)
    standby.prepare(GPU)
    ready = waiting()
    assert len(ready) == 2
    standby.close()
    assert not any(process.is_running() for process in ready)
    standby.prepare(CPU)
    assert waiting() == []


def test_none_waits_where_that_is_switched_off() -> None:
    off = Standby((sys.executable, "-c", ECHO))
    off.prepare(CPU)
    assert waiting() == []
    assert finished(off.start(CPU, {"answer": 4})) == (0, ("loaded", "4"))


def test_a_job_run_by_a_waiting_trainer_ends_with_the_same_checkpoint(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker
) -> None:
    def checkpoint(context: Context, job_id: uuid.UUID) -> str:
        run_job(context, job_id)
        job = read_job(sessions, job_id)
        assert job.status == "succeeded", job.error
        return read_artifacts(sessions, job_id)["masktune.safetensors"]

    plain = checkpoint(context, make_job())
    standby = Standby(TRAINER, context.devices.devices)
    try:
        standby.prepare(context.devices.devices[0])
        children = psutil.Process().children()
        assert checkpoint(replace(context, trainers=standby), make_job()) == plain
        (prepared,) = [child for child in psutil.Process().children() if child not in children]
        assert prepared.name() != AT_WORK, "the next one waits already"
    finally:
        standby.close()


def test_a_worker_for_jobs_keeps_one_ready_and_one_for_intake_does_not(
    start_worker: Callable[..., Worker],
    environment: dict[str, str],
    sessions: sessionmaker[Session],
    make_job: JobMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(environment, "MASKTUNE_STANDBY_TRAINERS", "true")

    def trainers(worker: Worker) -> list[psutil.Process]:
        children = psutil.Process(worker.process.pid).children()
        return [child for child in children if "worker.trainer" in child.cmdline()]

    intake = start_worker("-Q", "intake", "-n", "intake@%h")
    jobs = start_worker("-Q", "jobs,control", "-n", "jobs@%h", "-B")
    wait_until(lambda: len(trainers(jobs)) == 1, 60)
    (ready,) = trainers(jobs)
    assert ready.name() != AT_WORK
    job_id = make_job()
    run = wait_finished(sessions, job_id)
    assert run.status == "succeeded"
    assert trainers(intake) == []
    assert jobs.stop() == 0
    assert not ready.is_running()
