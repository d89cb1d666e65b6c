"""Waiting for what the service checks in the background: data sets and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from cli.client import Client
from cli.errors import CliError

_POLL_SECONDS = 0.3
_SHOWN_PROBLEMS = 20


class Invalid(CliError):
    """The service looked at it and cannot use it."""


def wait_until_ready(
    client: Client, path: str, *, check: Callable[[], None] = lambda: None, timeout: float | None = None
) -> dict[str, Any]:
    """Poll `path` until its `status` is `ready`; returns it. Raises `Invalid` with every finding otherwise."""
    started = time.monotonic()
    while True:
        check()
        found: dict[str, Any] = client.get(path)
        if found["status"] == "ready":
            return found
        if found["status"] == "invalid":
            raise Invalid("\n".join([f"{found.get('name') or path} is invalid", *problem_lines(found)]))
        if timeout is not None and time.monotonic() - started > timeout:
            raise CliError(f"{path} is still {found['status']} after {timeout:.0f} s; is an intake worker running?")
        time.sleep(_POLL_SECONDS)


def problem_lines(found: Mapping[str, Any]) -> list[str]:
    """The intake's findings, and the error or else the key report of a resource, a line each."""
    lines = []
    for problem in (found.get("problems") or [])[:_SHOWN_PROBLEMS]:
        where = f"{problem['where']}: " if problem.get("where") else ""
        lines.append(f"  {where}{problem['message']} [{problem['code']}]")
    more = int(found.get("problem_count") or 0) - len(lines)
    if more > 0:
        lines.append(f"  … and {more} more")
    error = found.get("error")
    if isinstance(error, Mapping):
        return [*lines, f"  {error.get('message')} [{error.get('code')}]"]
    report = found.get("report")
    for kind, names in report.items() if isinstance(report, Mapping) else ():
        if names and isinstance(names, list):
            lines.append(f"  {kind}: {', '.join(map(str, names[:10]))}{' …' if len(names) > 10 else ''}")
    return lines
