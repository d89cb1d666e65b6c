"""`masktune admin`: looking after the data folder."""

from __future__ import annotations

import json as json_format
from typing import Annotated

import typer

from cli.database import database, run_module
from cli.home import resolve_home
from cli.options import HomeOption, JsonOption
from cli.output import Output, record

app = typer.Typer(help="Look after the data folder.", no_args_is_help=True)


@app.callback()
def admin() -> None:
    """Look after the data folder."""


@app.command("gc")
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    idle: Annotated[
        bool, typer.Option("--idle", help="No grace for fresh leftovers; only while no service and no job runs.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take away what nobody needs: expired uploads, jobs past their retention, objects without a reference."""
    options = [*(["--dry-run"] if dry_run else []), *(["--idle"] if idle else [])]
    with database(resolve_home(home)) as env:
        found = json_format.loads(run_module(["api.collect", *options, "--json"], env).strip().splitlines()[-1])
    Output.make(json=json).result({"dry_run": dry_run, **found}, record(found))
