"""`masktune jobs`: MaskTune jobs on the service."""

from __future__ import annotations

import json as json_format
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.artifacts import download_artifact, list_artifacts, named_artifact
from cli.changes import parse_changes
from cli.client import Client
from cli.comparison import comparison_table, from_metrics
from cli.job_events import JobEvent
from cli.job_watch import follow
from cli.options import JsonOption, KeyOption, LimitOption, UrlOption, connect
from cli.output import Output, moment, percent, record, table

app = typer.Typer(help="MaskTune jobs on the service.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB")]
Status = Literal["queued", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"]


@app.command("list")
def list_jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: LimitOption = 50,
    url: UrlOption = None,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show the jobs, newest first."""
    with connect(url, api_key) as client:
        found = list(client.pages("/v1/jobs", limit=limit, status=status))
    columns = ["id", "name", "status", "stage", "created (UTC)", "finished (UTC)"]
    rows = [
        [*(job[field] for field in columns[:4]), moment(job["created_at"]), moment(job["finished_at"])] for job in found
    ]
    Output.make(json=json).result({"data": found}, table(columns, rows))


@app.command("show")
def show(job: JobId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Show one job; a finished one with its numbers before and after."""
    with connect(url, api_key) as client:
        found = client.get(f"/v1/jobs/{job}")
        metrics = client.rows(f"/v1/jobs/{job}/metrics") if found["status"] == "succeeded" else []
    output = Output.make(json=json)
    hidden = {"config", "manifest", "progress"}
    output.result(found, record({name: value for name, value in found.items() if name not in hidden}))
    if metrics and not json:
        output.say()
        output.say(comparison_table(from_metrics(metrics)))


@app.command("submit")
def submit(
    dataset: Annotated[str, typer.Argument(help="The data set's id.", metavar="DATASET")],
    preset: Annotated[str | None, typer.Option(help="biased_mnist, waterbirds, celeba, …")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change of a field, such as erm.epochs=5; may be repeated.")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Start from this checkpoint instead of training ERM.")] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Among your own waiting jobs; higher first.")] = 0,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key submits the same job once. Default: a fresh one.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    url: UrlOption = None,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Queue a job."""
    output = Output.make(json=json)
    body: dict[str, Any] = {"dataset_id": dataset, "config": parse_changes(settings or []), "priority": priority}
    body |= {k: v for k, v in {"preset": preset, "checkpoint_id": checkpoint, "name": name}.items() if v is not None}
    with connect(url, api_key) as client:
        job = client.post("/v1/jobs", body, idempotency_key=idempotency_key or str(uuid.uuid4()))
        if wait:
            output.say(f"job {job['id']}")
            job = follow(client, job["id"], output)
            show_comparison(client, job["id"], output)
    output.result(job, f"job {job['id']} is {job['status']}")


@app.command("watch")
def watch(job: JobId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Follow a job to its end. With --json: every event on a line of its own."""
    output = Output.make(json=json)

    def print_event(event: JobEvent) -> None:
        if json:
            line = {"seq": event.seq, "type": event.type, "data": event.data}
            sys.stdout.write(json_format.dumps(line, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    with connect(url, api_key) as client:
        follow(client, job, output, each=print_event)
        if not json:
            show_comparison(client, job, output)


@app.command("cancel")
def cancel(job: JobId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Ask a job to stop."""
    with connect(url, api_key) as client:
        found = client.post(f"/v1/jobs/{job}/cancel")
    Output.make(json=json).result(found, f"job {job} is {found['status']}")


@app.command("pause")
def pause(job: JobId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Have a job write a resume point and wait, without a device, until it is resumed."""
    with connect(url, api_key) as client:
        found = client.post(f"/v1/jobs/{job}/pause")
    Output.make(json=json).result(found, f"job {job} is {found['status']}")


@app.command("resume")
def resume(job: JobId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Have a paused, cancelled or failed job go on from its last resume point."""
    with connect(url, api_key) as client:
        found = client.post(f"/v1/jobs/{job}/resume")
    Output.make(json=json).result(found, f"job {job} is {found['status']}")


@app.command("stages")
def list_stages(job: JobId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Show when each attempt of a job entered and left each stage."""
    with connect(url, api_key) as client:
        found = client.get(f"/v1/jobs/{job}/stages")["data"]
    columns = ["attempt", "stage", "iteration", "entered_at", "left_at"]
    rows = [[stage[column] for column in columns] for stage in found]
    Output.make(json=json).result({"data": found}, table(columns, rows, right=["attempt", "iteration"]))


@app.command("delete")
def delete(job: JobId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Delete a finished job with everything it made."""
    with connect(url, api_key) as client:
        client.delete(f"/v1/jobs/{job}")
    Output.make(json=json).result({"id": job, "deleted": True}, f"deleted job {job}")


@app.command("download")
def download(
    job: JobId,
    names: Annotated[list[str] | None, typer.Argument(help="Artifacts. Default: all.", metavar="NAME")] = None,
    out: Annotated[Path, typer.Option(help="Folder to put them in.", file_okay=False)] = Path(),
    url: UrlOption = None,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Download what a job made, verified by SHA-256."""
    output = Output.make(json=json)
    with connect(url, api_key) as client:
        artifacts = list_artifacts(client, job)
        wanted = [named_artifact(artifacts, name) for name in names] if names else list(artifacts.values())
        files = [
            {**artifact, "path": str(download_artifact(client, job, artifact, out, output))} for artifact in wanted
        ]
    rows = [[file["path"], file["size"], file["sha256"]] for file in files]
    output.result({"data": files}, table(["file", "bytes", "sha256"], rows, right=["bytes"]))


@app.command("samples")
def samples(
    job: JobId,
    split: Annotated[str | None, typer.Option(help="train, test:biased, …")] = None,
    label: Annotated[int | None, typer.Option(help="Number of the true class.")] = None,
    group: Annotated[int | None, typer.Option(help="Number of the group.")] = None,
    flipped: Annotated[
        Literal["fixed", "broken", "any"] | None, typer.Option(help="Whose prediction changed, and how.")
    ] = None,
    correct_before: Annotated[bool | None, typer.Option(help="Right with ERM.")] = None,
    correct_after: Annotated[bool | None, typer.Option(help="Right with MaskTune.")] = None,
    sort: Annotated[Literal["index", "masked_fraction", "confidence_drop"], typer.Option(help="Order.")] = "index",
    descending: Annotated[bool, typer.Option("--descending", help="Largest first.")] = False,
    limit: LimitOption = 20,
    url: UrlOption = None,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show what a job found on single images."""
    filters = {
        "split": split,
        "label": label,
        "group": group,
        "flipped": flipped,
        "correct_before": correct_before,
        "correct_after": correct_after,
    }
    with connect(url, api_key) as client:
        order = {"sort": sort, "order": "desc" if descending else None}
        found = list(client.pages(f"/v1/jobs/{job}/samples", limit=limit, **filters, **order))
    columns = ["index", "split", "group", "before", "confidence", "after", "confidence", "changed", "masked"]
    rows = [
        [
            *(sample["index"], sample["split"], sample["group_name"] or sample["class_name"]),
            *("right" if sample["correct_before"] else "wrong", percent(sample["confidence_before"])),
            *("right" if sample["correct_after"] else "wrong", percent(sample["confidence_after"])),
            *(sample["flipped"], percent(sample["masked_fraction"])),
        ]
        for sample in found
    ]
    shown = table(columns, rows, right=["index", "confidence", "masked"])
    Output.make(json=json).result({"data": found}, shown)


def show_comparison(client: Client, job_id: str, output: Output) -> None:
    """The before/after table of a finished job."""
    output.say()
    output.say(comparison_table(from_metrics(client.rows(f"/v1/jobs/{job_id}/metrics"))))
