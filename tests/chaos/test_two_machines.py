"""Two workers that share nothing but the database, Redis and an S3 store: jobs spread, and one takes over."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from persistence import resume_points
from persistence.database import transaction
from tests.chaos import client
from tests.chaos.audit import require_whole_log
from tests.chaos.conftest import CONFIG
from tests.chaos.stack import Process, Stack, wait_for
from tests.worker.driving import read_artifacts, read_events, wait_until


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment in which the store is a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="machines")
        yield variables | {"MASKTUNE_STORAGE_URL": "s3://machines/masktune"}
    server.stop()


@pytest.fixture(scope="module")
def stack(s3: dict[str, str]) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="masktune-chaos-") as folder, Stack(Path(folder), **s3) as running:
        client.wait_ready(running)
        yield running


@pytest.fixture(scope="module")
def dataset(stack: Stack, archive: Path) -> str:
    return client.upload_dataset(stack, archive)


def test_jobs_spread_over_two_machines_and_when_one_dies_the_other_takes_over(
    stack: Stack, dataset: str, undisturbed: str
) -> None:
    first, second = stack.worker, stack.add_worker("second")
    client.wait_ready(stack)
    ids = [uuid.UUID(client.submit(stack, dataset, CONFIG, f"machine-{number}")) for number in range(2)]
    orphaned = wait_until(lambda: _with_a_resume_point(stack, ids, first))
    _die(stack, first)
    for job_id in ids:
        job = client.wait_over(stack, str(job_id), 120.0)
        assert job["status"] == "succeeded", job
        assert read_artifacts(stack.sessions, job_id)["masktune.safetensors"] == undisturbed
        require_whole_log(stack.sessions, str(job_id))
    workers = {job_id: _workers_of(stack, job_id) for job_id in ids}
    assert workers.pop(orphaned) == [first.pid, second.pid], "the other one took over"
    assert list(workers.values()) == [[second.pid]], "one job each"
    assert list((stack.home / "cache").glob("*")), "each machine kept a copy of its own"
    assert list((stack.home / "second" / "cache").glob("*"))


def _workers_of(stack: Stack, job_id: uuid.UUID) -> list[int]:
    """Process ids of the workers that ran a job's attempts, in order; worker names are host:pid:device."""
    log = read_events(stack.sessions, job_id)
    return [int(event.data["worker"].split(":")[-2]) for event in log if event.type == "job.started"]


def _with_a_resume_point(stack: Stack, ids: list[uuid.UUID], worker: Process) -> uuid.UUID | None:
    """The job that this worker runs, once it could go on elsewhere."""
    for job_id in ids:
        if _workers_of(stack, job_id) == [worker.pid]:
            with transaction(stack.sessions) as session:
                return job_id if resume_points.newest(session, job_id) else None
    return None


def _die(stack: Stack, worker: Process) -> None:
    """The machine is gone: the worker, and with it its trainer."""
    trainer = stack.trainer(worker)
    worker.kill()
    if trainer is not None:
        wait_for(lambda: not trainer.is_running() or trainer.status() == "zombie", 10.0, "the trainer died with it")
