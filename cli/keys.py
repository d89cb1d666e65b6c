"""`masktune keys`: API keys in the data folder's database."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.api_key import TENANT, admin, create_key, login_address, rotate_key
from cli.database import database, running_services
from cli.errors import ServicesError
from cli.home import resolve_home
from cli.options import HomeOption, JsonOption
from cli.output import Output, moment, record, table


class KeyScope(StrEnum):
    """What a key may do: each what those before it may, and more."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


app = typer.Typer(help="API keys of the data folder's service.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="Whose things the key may see.")] = TENANT,
    scope: Annotated[KeyScope, typer.Option(help="What the key may do; admin may also manage keys.")] = KeyScope.WRITE,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Refuse the key after so many days.")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key. It is shown this one time."""
    with database(resolve_home(home)) as env:
        made = create_key(env, tenant=tenant, name=name, scope=scope.value, days=days)
    Output.make(json=json).result(made, record(made))


@app.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(help="The old key's id.")],
    grace_hours: Annotated[int, typer.Option(min=0, max=720, help="How long the old key still works.")] = 24,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key's successor. It is shown this one time; the old key works a while longer."""
    with database(resolve_home(home)) as env:
        made = rotate_key(env, key_id, grace_hours=grace_hours)
    Output.make(json=json).result(made, record(made))


@app.command("list")
def list_keys(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show every key, without its secret."""
    with database(resolve_home(home)) as env:
        answer = admin(env, "list-keys")
    keys: list[dict[str, Any]] = answer["data"] if isinstance(answer, dict) else answer
    columns = ["id", "tenant", "name", "prefix", "scope", "created (UTC)", "last used", "ends", "revoked"]
    times = ("created_at", "last_used_at", "expires_at", "revoked_at")
    rows = [[*(key[field] for field in columns[:5]), *(moment(key[field]) for field in times)] for key in keys]
    Output.make(json=json).result({"data": keys}, table(columns, rows))


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id.")], home: HomeOption = None, json: JsonOption = False
) -> None:
    """End a key: requests with it are refused from now on."""
    with database(resolve_home(home)) as env:
        answer = admin(env, "revoke-key", key_id)
    Output.make(json=json).result(answer if answer is not None else {"id": key_id}, f"revoked {key_id}")


@app.command("login-link")
def login_link(
    tenant: Annotated[str, typer.Option(help="Whose things the browser may see.")] = TENANT,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Print an address that logs one browser in to the running service, once, within 15 minutes."""
    folder = resolve_home(home)
    running = running_services(folder)
    if running is None:
        raise ServicesError(f"no services run over {folder.path}: start them with masktune up")
    with database(folder) as env:
        address = login_address(env, running.url, tenant=tenant)
    Output.make(json=json).result({"address": address}, address)
