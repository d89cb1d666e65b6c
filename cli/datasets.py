"""`masktune datasets`: data sets on the service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cli import make_datasets
from cli.client import Client
from cli.comparison import split_order
from cli.intake_options import CelebaAttribute, CelebaTarget, SplitSeed, given
from cli.options import JsonOption, KeyOption, LimitOption, UrlOption, connect
from cli.output import Output, moment, record, table
from cli.resumable import resumable_upload
from cli.transfer import transfer_bar
from cli.waiting import problem_lines, wait_until_ready

app = typer.Typer(help="Data sets on the service.", no_args_is_help=True)
app.add_typer(make_datasets.app, name="make")

DatasetId = Annotated[str, typer.Argument(help="The data set's id.", metavar="DATASET")]


@app.command("list")
def list_datasets(
    limit: LimitOption = 50, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False
) -> None:
    """Show the data sets, newest first."""
    with connect(url, api_key) as client:
        found = list(client.pages("/v1/datasets", limit=limit))
    columns = ["id", "name", "status", "images", "layout", "created (UTC)"]
    fields = ("id", "name", "status", "image_count", "layout")
    rows = [[*(dataset[field] for field in fields), moment(dataset["created_at"])] for dataset in found]
    Output.make(json=json).result({"data": found}, table(columns, rows, right=["images"]))


@app.command("show")
def show(dataset: DatasetId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Show one data set: counts for each split, class and group, and what the intake found."""
    with connect(url, api_key) as client:
        found = client.get(f"/v1/datasets/{dataset}")
    output = Output.make(json=json)
    shown = {name: value for name, value in found.items() if name not in {"summary", "problems"}}
    output.result(found, record(shown))
    if not json:
        output.say()
        output.say(summary_table(found))
        for line in problem_lines(found):
            output.say(line)


@app.command("upload")
def upload(
    archive: Annotated[Path, typer.Argument(help="zip, tar, tar.gz or tar.zst.", exists=True, dir_okay=False)],
    name: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    split_seed: SplitSeed = None,
    celeba_target: CelebaTarget = None,
    celeba_attribute: CelebaAttribute = None,
    wait: Annotated[bool, typer.Option(help="Wait until the service has checked it.")] = True,
    url: UrlOption = None,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Upload an archive and make a data set of it. Broken off, it goes on where it was; known bytes are not sent."""
    output = Output.make(json=json)
    options = given(split_seed, celeba_target, celeba_attribute)
    with connect(url, api_key) as client:
        made = upload_dataset(client, archive, name or archive.name, output, options)
        if wait:
            output.say("  checking every image …")
            made = wait_until_ready(client, f"/v1/datasets/{made['id']}")
    output.result(made, summary_table(made) if wait else record({"id": made["id"], "status": made["status"]}))
    if not json:
        output.say(f"data set {made['id']}")


@app.command("delete")
def delete(dataset: DatasetId, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Delete a data set that no unfinished job uses."""
    with connect(url, api_key) as client:
        client.delete(f"/v1/datasets/{dataset}")
    Output.make(json=json).result({"id": dataset, "deleted": True}, f"deleted data set {dataset}")


def upload_dataset(
    client: Client, archive: Path, name: str, output: Output, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Upload with a progress bar, then register the data set; it is not checked yet. `options` as in the body."""
    with transfer_bar(output.human, "uploading") as advance:
        uploaded = resumable_upload(client, archive, advance=advance)
    body = {"name": name, "upload_id": uploaded["id"], **({"options": dict(options)} if options else {})}
    made: dict[str, Any] = client.post("/v1/datasets", body)
    return made


def split_counts(dataset: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(split, counts) of a ready data set: train, val, then the test sets by name."""
    splits: dict[str, dict[str, Any]] = (dataset.get("summary") or {}).get("splits") or {}
    return sorted(splits.items(), key=lambda item: (split_order(item[0]), item[0]))


def summary_table(dataset: dict[str, Any]) -> Table:
    """Images per split, and per group or class."""
    rows: list[list[object]] = []
    for split, counts in split_counts(dataset):
        rows.append([split, "all", counts["count"]])
        parts = counts.get("groups") or counts.get("classes") or {}
        rows += [["", name, number] for name, number in sorted(parts.items())]
    return table(["split", "group", "images"], rows, right=["images"])
