"""`masktune up`: the service on this machine until Ctrl-C."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from cli.home import resolve_home
from cli.options import HomeOption, JsonOption
from cli.output import Output
from cli.services import LocalServices
from cli.signals import StopRequested, StopSignals

_WATCH_SECONDS = 0.5


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8000,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Serve the web pages and the API, and run jobs and checks of uploads, over the data folder until Ctrl-C.

    What ends by itself is started again, the database too. Starting once more finds everything that was there.
    """
    folder = resolve_home(home)
    output = Output.make(json=json)
    output.say(f"MaskTune service over {folder.path}")
    try:
        with StopSignals() as signals:
            with LocalServices(
                folder, command="up", port=port, signals=signals, status=lambda step: output.say(f"  {step} …")
            ) as services:
                docs = f"{services.url}/docs"
                login = services.login_address()
                ready = {
                    "url": services.url,
                    "login": login,
                    "docs": docs,
                    "api_key_file": str(folder.key),
                    "home": str(folder.path),
                    "logs": str(folder.logs),
                    "pid": os.getpid(),
                }
                lines = [
                    "",
                    f"  open      {login}",
                    "            (logs one browser in, within 15 minutes; another: masktune keys login-link)",
                    f"  address   {services.url}",
                    f"  API docs  {docs}",
                    f"  API key   {folder.key}",
                    f"  logs      {folder.logs}",
                    "",
                    "Ctrl-C stops everything; the data stays.",
                ]
                output.result(ready, "\n".join(lines))
                while True:
                    time.sleep(_WATCH_SECONDS)
                    for message in services.restart_ended():
                        output.say(f"  {message}; its log is in {folder.logs}")
    except StopRequested:
        output.say("stopped")
