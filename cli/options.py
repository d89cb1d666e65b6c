"""Options that many commands share, and how the service is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.client import Client
from cli.errors import UsageError
from cli.home import HOME_VARIABLE, resolve_home

URL_VARIABLE = "MASKTUNE_URL"
KEY_VARIABLE = "MASKTUNE_API_KEY"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The data folder.", envvar=HOME_VARIABLE, show_default=".masktune", file_okay=False),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="Address of the service. Default: the one running over the data folder.", envvar=URL_VARIABLE
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--api-key", help="API key, mt_…. Default: the data folder's own.", envvar=KEY_VARIABLE),
]
LimitOption = Annotated[int, typer.Option("--limit", help="Most entries to show.", min=1)]


def connect(url: str | None, api_key: str | None) -> Client:
    """A client for the named service, else for the one that runs over the data folder.

    The data folder's key is sent to the data folder's own service only.
    """
    home = resolve_home(Path(os.environ[HOME_VARIABLE]) if os.environ.get(HOME_VARIABLE) else None)
    running = home.read_services()
    local = running.url if running else None
    address = url or local
    if address is None:
        raise UsageError(
            f"no service is running over {home.path}: start one with 'masktune up', or name one with --url"
        )
    key = api_key or (home.read_key() if address.rstrip("/") == local else None)
    if key is None:
        raise UsageError(f"no API key for {address}: pass --api-key or set {KEY_VARIABLE}")
    return Client(address, key)
