"""A service on this machine for one command: the one that is running over the data folder, or one of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cli.database import running_services, services_are_starting
from cli.errors import ServicesError
from cli.home import Home
from cli.output import Output
from cli.services import LocalServices
from cli.signals import StopSignals

_STARTING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LocalService:
    """`check` raises when a service that this command started has ended; `started` is whether it did start one."""

    url: str
    api_key: str
    started: bool
    check: Callable[[], None]


@contextmanager
def local_service(home: Home, signals: StopSignals, output: Output) -> Iterator[LocalService]:
    """Use what `masktune up` runs over this data folder, else start everything and stop it at the end."""
    deadline = time.monotonic() + _STARTING_SECONDS
    while services_are_starting(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    running = running_services(home)
    key = home.read_key()
    if running is not None and running.command == "up":
        if key is None:
            raise ServicesError(f"the service at {running.url} left no key in {home.key}; start 'masktune up' again")
        output.say(f"  using the service at {running.url} (masktune up, process {running.pid})")
        yield LocalService(running.url, key, started=False, check=lambda: None)
        return
    with LocalServices(
        home, command="demo", signals=signals, status=lambda step: output.say(f"  {step} …")
    ) as services:
        output.say(f"  serving at {services.url}")
        yield LocalService(services.url, services.api_key, started=True, check=services.check)
