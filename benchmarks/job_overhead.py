"""A job over HTTP, through the API, the queue and a worker, against the same pipeline called in this process."""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.table import Row
from cli.changes import resolve
from cli.client import Client
from cli.home import Home
from cli.job_events import watch
from cli.output import Output
from cli.run import normalise_archive
from cli.services import LocalServices
from cli.signals import StopSignals
from cli.waiting import wait_until_ready
from masktune_core import pipeline
from masktune_core.config import JobConfig
from masktune_core.data.dataset import Dataset
from masktune_core.makers.biased_mnist import make_biased_mnist

_GOAL_SECONDS = 3.0


def run(quick: bool) -> list[Row]:
    """Wall time from submit to the last event, less that of `pipeline.run` with the same configuration and data."""
    epochs = 1 if quick else 3
    changes = {"erm": {"epochs": epochs}}
    with tempfile.TemporaryDirectory(prefix="masktune-bench-") as folder:
        root = Path(folder)
        train, val, test = (1000, 200, 200) if quick else (None, None, None)
        archive = make_biased_mnist(root / "biased-mnist.zip", seed=0, train=train, val=val, test=test)
        with StopSignals() as signals, LocalServices(Home(root / "home"), command="demo", signals=signals) as services:
            with Client(services.url, services.api_key) as client:
                upload = client.upload(archive)
                made = client.post("/v1/datasets", {"name": "benchmark", "upload_id": upload["id"]})
                wait_until_ready(client, f"/v1/datasets/{made['id']}", check=services.check, timeout=300.0)
                body = {"dataset_id": made["id"], "preset": "biased_mnist", "config": changes}
                over_http = min(_over_http(client, body, services) for _ in range(1 if quick else 2))
        normalised = normalise_archive(archive, root / "dataset.zip", Output.make(json=True))
        config = resolve("biased_mnist", changes)
        in_process = min(_in_process(config, normalised, root / f"run-{n}") for n in range(1 if quick else 2))
    overhead = over_http - in_process
    note = f"Biased MNIST, {epochs} ERM epochs: {over_http:.1f} s over HTTP, {in_process:.1f} s in-process"
    return [Row("job over HTTP, overhead", overhead, unit="s", at_most=_GOAL_SECONDS, note=note)]


def _over_http(client: Client, body: dict[str, object], services: LocalServices) -> float:
    started = time.perf_counter()
    job = client.post("/v1/jobs", body, idempotency_key=str(uuid.uuid4()))
    last = [event.type for event in watch(client, job["id"], check=services.check)][-1]
    if last != "job.succeeded":
        error = client.get(f"/v1/jobs/{job['id']}")["error"]
        raise RuntimeError(f"the job ended with {last}: {error}")
    return time.perf_counter() - started


def _in_process(config: JobConfig, archive: Path, work_dir: Path) -> float:
    started = time.perf_counter()
    with Dataset.open(archive) as dataset:
        pipeline.run(config, dataset, work_dir=work_dir)
    return time.perf_counter() - started
