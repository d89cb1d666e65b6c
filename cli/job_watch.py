"""Following one job to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cli.client import Client
from cli.errors import JobUnsuccessful
from cli.job_events import JobEvent, watch
from cli.output import Output
from cli.progress import RunDisplay, show_event


def follow(
    client: Client,
    job_id: str,
    output: Output,
    *,
    check: Callable[[], None] = lambda: None,
    each: Callable[[JobEvent], None] = lambda _: None,
) -> dict[str, Any]:
    """Show the job's progress until it ends and return it. Raises `JobUnsuccessful` if it failed or was cancelled."""
    with RunDisplay(output.human) as display:
        for event in watch(client, job_id, check=check):
            each(event)
            show_event(display, event.type, event.data)
    job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}")
    if job["status"] != "succeeded":
        error = job.get("error") or {}
        reason = f": {error.get('message')} [{error.get('code')}]" if error else ""
        raise JobUnsuccessful(f"job {job_id} {job['status']}{reason}")
    return job
