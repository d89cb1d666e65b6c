"""A client that loses no answer: every request is sent until the service has taken it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.stack import Stack

_PATIENCE_SECONDS = 120.0


def ask(stack: Stack, method: str, path: str, **options: Any) -> Any:
    """The JSON answer; a service that is away or answers 503 is asked again. Counts what 503s promise."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            response = stack.client.request(method, path, **options)
        except httpx.TransportError:
            response = None
        if response is not None and response.status_code < 500:
            response.raise_for_status()
            return response.json()
        if response is not None:
            assert response.status_code == 503, (response.status_code, response.text)
            assert response.headers["content-type"] == "application/problem+json"
            assert int(response.headers["retry-after"]) > 0
        assert time.monotonic() < deadline, f"{method} {path} was not taken"
        time.sleep(0.2)


def wait_ready(stack: Stack) -> None:
    """Until the API answers and every worker takes tasks."""

    def ready() -> bool:
        try:
            return stack.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    _wait(ready)
    workers = [process for process in stack.processes if process is not stack.api]
    _wait(lambda: all(worker.is_ready() for worker in workers))


def upload_dataset(stack: Stack, archive: Path) -> str:
    """The id of a data set that is ready."""
    upload = ask(stack, "PUT", f"/v1/uploads/{archive.name}", content=archive.read_bytes())
    dataset = ask(stack, "POST", "/v1/datasets", json={"name": "digits", "upload_id": upload["id"]})

    def status() -> Any:
        return ask(stack, "GET", f"/v1/datasets/{dataset['id']}")["status"]

    _wait(lambda: status() != "validating")
    assert status() == "ready"
    return str(dataset["id"])


def submit(stack: Stack, dataset_id: str, config: dict[str, Any], key: str) -> str:
    """The id of a job, submitted once however often the answer gets lost."""
    body = {"dataset_id": dataset_id, "preset": "biased_mnist", "config": config}
    return str(ask(stack, "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})["id"])


def job(stack: Stack, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(stack, "GET", f"/v1/jobs/{job_id}")
    return found


def wait_over(stack: Stack, job_id: str, seconds: float) -> dict[str, Any]:
    """The job when it has ended."""
    _wait(lambda: job(stack, job_id)["status"] in ("succeeded", "failed", "cancelled"), seconds)
    return job(stack, job_id)


def _wait(condition: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.2)


class Follower:
    """Follows a job's event stream through every outage, as a browser does: with the number of the last event seen."""

    def __init__(self, stack: Stack, job_id: str) -> None:
        self.seen: list[int] = []
        self._stack, self._job_id = stack, job_id
        self._thread = threading.Thread(target=self._run, name=f"follow-{job_id}", daemon=True)
        self._thread.start()

    def finish(self, seconds: float = 60.0) -> list[int]:
        """The numbers of the events in the order in which they came, once the stream has ended."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the event stream did not end"
        return self.seen

    def _run(self) -> None:
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.seen[-1] if self.seen else 0)}
            try:
                with self._stack.client.stream(
                    "GET", f"/v1/jobs/{self._job_id}/events", headers=headers, timeout=httpx.Timeout(30.0)
                ) as response:
                    if response.status_code == 204:
                        return
                    for line in response.iter_lines():
                        if line.startswith("id: "):
                            self.seen.append(int(line.removeprefix("id: ")))
            except httpx.TransportError:
                pass
            time.sleep(0.2)
