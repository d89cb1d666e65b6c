"""`masktune demo`: a whole job on real digits, through the service, as any client would do it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cli.artifacts import download_artifact, list_artifacts, named_artifact
from cli.client import Client
from cli.comparison import Comparison, comparison_table, from_metrics
from cli.datasets import split_counts, upload_dataset
from cli.demo_sheet import draw_demo_sheet
from cli.home import resolve_home
from cli.job_watch import follow
from cli.local_service import LocalService, local_service
from cli.options import HomeOption, JsonOption
from cli.output import Output, size
from cli.reevaluation import verify_checkpoint
from cli.run import normalise_archive
from cli.signals import StopSignals
from cli.waiting import wait_until_ready
from masktune_core.config import PRESETS

PRESET: Final = "biased_mnist"
ERM_CHANGES: Final = {"epochs": 3, "batch_size": 32}
"""Instead of the preset's 100 epochs in batches of 128, so that the demo is over soon. The small batches make up for
some of the missing steps."""
TEST_SPLITS: Final = ("test:original", "test:biased")
CHECKPOINT: Final = "masktune.safetensors"

_INTAKE_SECONDS = 120.0


def demo(
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the data and of the training.")] = 0,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Run a MaskTune job on Biased MNIST and show what it repaired.

    Starts the service, uploads the data, follows the job, compares before and after, verifies the checkpoint, draws a
    contact sheet, and stops what it started. With 'masktune up' running over the same data folder it uses that.
    """
    started = time.monotonic()
    output = Output.make(json=json)
    folder = resolve_home(home)
    output.say(f"MaskTune demo, seed {seed}, data folder {folder.path}")
    with StopSignals() as signals, local_service(folder, signals, output) as service:
        with Client(service.url, service.api_key) as client:
            outcome = DemoRun(client, service, output, seed, folder.demo / f"seed-{seed}").run()
    files = {
        "checkpoint": outcome.checkpoint,
        "contact sheet": outcome.sheet,
        "archive": outcome.archive,
        "service logs": folder.logs,
    }
    output.say()
    output.say("Where everything lies")
    for name, path in files.items():
        output.say(f"  {name:<14} {path}")
    output.say(f"  {'job':<14} {outcome.job_id}; 'masktune up' serves it again")
    ending = "everything that was started is stopped" if service.started else "the service keeps running"
    output.say(f"Done in {time.monotonic() - started:.0f} s; {ending}.")
    output.result(outcome.as_json(seed))


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What a demo found, and the files it left."""

    job_id: str
    checkpoint_sha256: str
    comparison: Comparison
    archive: Path
    checkpoint: Path
    sheet: Path

    def as_json(self, seed: int) -> dict[str, Any]:
        return {
            "job_id": self.job_id,
            "seed": seed,
            "checkpoint_sha256": self.checkpoint_sha256,
            **self.comparison.as_json(),
        }


@dataclass(frozen=True, slots=True)
class DemoRun:
    """The demo's steps as a client of the service. `folder` takes its files."""

    client: Client
    service: LocalService
    output: Output
    seed: int
    folder: Path

    def run(self) -> DemoOutcome:
        archive = self.make_archive()
        dataset = self.make_dataset(archive)
        job = self.run_job(dataset)
        comparison = from_metrics(self.client.rows(f"/v1/jobs/{job['id']}/metrics"))
        self.output.say()
        self.output.say(comparison_table(comparison, splits=TEST_SPLITS))
        checkpoint, sha256 = self.download_checkpoint(job)
        normalised = normalise_archive(archive, self.folder / "dataset.zip", self.output)
        self.output.say(f"  {verify_checkpoint(checkpoint, normalised, job, comparison.after)}")
        sheet = self.folder / "contact-sheet.png"
        draw_demo_sheet(self.client, job, dataset, sheet)
        return DemoOutcome(job["id"], sha256, comparison, archive, checkpoint, sheet)

    def make_archive(self) -> Path:
        from masktune_core.makers.biased_mnist import make_biased_mnist

        self._step("Data")
        self.folder.mkdir(parents=True, exist_ok=True)
        archive = make_biased_mnist(self.folder / "biased-mnist.zip", seed=self.seed)
        self.output.say("  10,000 real digits, 0–4 against 5–9; in training a red square marks 99 % of 0–4, 1 % of 5–9")
        return archive

    def make_dataset(self, archive: Path) -> dict[str, Any]:
        name = f"Biased MNIST, seed {self.seed}"
        made = upload_dataset(self.client, archive, name, self.output)
        self.output.say(f"  uploaded {size(archive.stat().st_size)}; the service checks every image …")
        path = f"/v1/datasets/{made['id']}"
        dataset = wait_until_ready(self.client, path, check=self.service.check, timeout=_INTAKE_SECONDS)
        counts = ", ".join(f"{split} {found['count']:,}" for split, found in split_counts(dataset))
        self.output.say(f"  data set {dataset['id']} is ready: {counts}")
        return dataset

    def run_job(self, dataset: dict[str, Any]) -> dict[str, Any]:
        self._step("Job")
        body = {
            "name": f"demo, seed {self.seed}",
            "dataset_id": dataset["id"],
            "preset": PRESET,
            "config": {"seed": self.seed, "erm": ERM_CHANGES},
        }
        job = self.client.post("/v1/jobs", body, idempotency_key=str(uuid.uuid4()))
        paper = PRESETS[PRESET].erm
        self.output.say(f"  job {job['id']}: preset {PRESET}, shortened for the demo:")
        self.output.say(
            f"  {ERM_CHANGES['epochs']} ERM epochs in batches of {ERM_CHANGES['batch_size']} "
            f"instead of {paper.epochs} in batches of {paper.batch_size}"
        )
        return follow(self.client, job["id"], self.output, check=self.service.check)

    def download_checkpoint(self, job: dict[str, Any]) -> tuple[Path, str]:
        self._step("Checkpoint")
        artifact = named_artifact(list_artifacts(self.client, job["id"]), CHECKPOINT)
        path = download_artifact(self.client, job["id"], artifact, self.folder, self.output)
        self.output.say(f"  downloaded {size(artifact['size'])}, SHA-256 {artifact['sha256']} verified")
        return path, artifact["sha256"]

    def _step(self, name: str) -> None:
        self.output.say()
        self.output.say(name)
