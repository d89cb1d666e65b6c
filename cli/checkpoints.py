"""`masktune checkpoints`: weights on the service that a job can start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import JsonOption, KeyOption, LimitOption, UrlOption, connect
from cli.output import Output, moment, record, table
from cli.resumable import resumable_upload
from cli.transfer import transfer_bar
from cli.waiting import wait_until_ready

app = typer.Typer(help="Checkpoints that jobs can start from.", no_args_is_help=True)


@app.command("list")
def list_checkpoints(
    limit: LimitOption = 50, url: UrlOption = None, api_key: KeyOption = None, json: JsonOption = False
) -> None:
    """Show the checkpoints, newest first."""
    with connect(url, api_key) as client:
        found = list(client.pages("/v1/checkpoints", limit=limit))
    columns = ["id", "name", "status", "architecture", "classes", "created (UTC)"]
    fields = ("id", "name", "status", "architecture", "num_classes")
    rows = [[*(checkpoint[field] for field in fields), moment(checkpoint["created_at"])] for checkpoint in found]
    Output.make(json=json).result({"data": found}, table(columns, rows, right=["classes"]))


@app.command("show")
def show(
    checkpoint: Annotated[str, typer.Argument(help="The checkpoint's id.", metavar="CHECKPOINT")],
    url: UrlOption = None,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show one checkpoint, with the report of keys that do not match."""
    with connect(url, api_key) as client:
        found = client.get(f"/v1/checkpoints/{checkpoint}")
    Output.make(json=json).result(found, record(found))


@app.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help=".safetensors, or a PyTorch state dict.", exists=True, dir_okay=False)],
    architecture: Annotated[str, typer.Option(help="small_cnn, resnet50, timm/<name>, …")],
    num_classes: Annotated[int, typer.Option(min=2, help="Classes that the weights tell apart.")],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Name of an output, in order; once for each. Default: what the file says."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the service has checked it.")] = True,
    url: UrlOption = None,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Upload weights; the service matches their keys against the architecture, strictly."""
    output = Output.make(json=json)
    with connect(url, api_key) as client:
        with transfer_bar(output.human, "uploading") as advance:
            uploaded = resumable_upload(client, file, advance=advance)
        body = {"name": name or file.name, "upload_id": uploaded["id"], "architecture": architecture}
        body |= {"num_classes": num_classes, **({"classes": classes} if classes else {})}
        made = client.post("/v1/checkpoints", body)
        if wait:
            made = wait_until_ready(client, f"/v1/checkpoints/{made['id']}")
    output.result(made, record(made))
