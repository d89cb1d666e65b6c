"""`masktune admin`: looking after the data folder."""

from __future__ import annotations

import json as json_format
from typing import Annotated

import typer

from cli.api_key import admin as api_admin
from cli.database import database, run_module
from cli.home import resolve_home
from cli.options import HomeOption, JsonOption
from cli.output import Output, record, table

app = typer.Typer(help="Look after the data folder and its tenants.", no_args_is_help=True)


@app.callback()
def admin() -> None:
    """Look after the data folder and its tenants."""


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


@app.command("tenants")
def list_tenants(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show every tenant, what it uses, and of how much it may."""
    with database(resolve_home(home)) as env:
        found = api_admin(env, "list-tenants")["data"]
    kinds = ("bytes", "datasets", "jobs", "running")
    rows = [[tenant["tenant"], *(_used(tenant[kind]) for kind in kinds)] for tenant in found]
    columns = ["tenant", "bytes", "data sets", "unfinished jobs", "running jobs"]
    Output.make(json=json).result({"data": found}, table(columns, rows, right=columns[1:]))


def _used(quota: dict[str, int | None]) -> str:
    limit = quota["limit"]
    return f"{quota['used']:,} of {'any number' if limit is None else format(limit, ',')}"


@app.command("set-quota")
def set_quota(
    tenant: Annotated[str, typer.Argument(help="Its name; made if new.", metavar="TENANT")],
    most_bytes: Annotated[int | None, typer.Option("--bytes", min=0, help="Bytes that it may keep.")] = None,
    datasets: Annotated[int | None, typer.Option(min=0, help="Data sets that it may have.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=0, help="Jobs that may be unfinished: queued, running or paused.")
    ] = None,
    running: Annotated[
        int | None, typer.Option(min=0, help="Jobs that may run at the same time; 0: any number.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Limit a tenant. What is left out becomes the limit of the service's settings."""
    given = {"--bytes": most_bytes, "--datasets": datasets, "--jobs": jobs, "--running": running}
    options = [text for option, value in given.items() if value is not None for text in (option, str(value))]
    with database(resolve_home(home)) as env:
        found = api_admin(env, "set-quota", "--tenant", tenant, *options)
    Output.make(json=json).result(found, record(found))
