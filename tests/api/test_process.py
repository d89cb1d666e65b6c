"""The API as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from persistence.settings import Settings
from tests.api.seeds import Seeds
from tests.api.test_events import following


@contextmanager
def process(settings: Settings, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`uvicorn --factory api.main:create_app`, ready to serve."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "MASKTUNE_DATABASE_URL": settings.database_url.get_secret_value(),
        "MASKTUNE_REDIS_URL": settings.redis_url.get_secret_value(),
        "MASKTUNE_HOME": str(settings.home),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.main:create_app", "--port", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as started:
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 30
            while not _ready(url):
                assert started.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield url, started
        finally:
            started.kill()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_sigterm_ends_streams_and_the_process_at_once(
    settings: Settings, key: str, seeds: Seeds, tmp_path: Path
) -> None:
    job_id = seeds.job()
    log = tmp_path / "api.log"
    headers = {"Authorization": f"Bearer {key}"}
    with process(settings, log) as (url, started):
        ended, streaming = threading.Event(), threading.Event()

        def follow() -> None:
            with httpx.Client(base_url=url, headers=headers) as client, following(client, job_id) as events:
                next(events)
                streaming.set()
                list(events)
            ended.set()

        follower = threading.Thread(target=follow)
        follower.start()
        assert streaming.wait(10)
        response = httpx.get(f"{url}/v1/jobs", headers={**headers, "X-Request-ID": "find-me"})
        assert response.status_code == 200
        stopped = time.monotonic()
        started.send_signal(signal.SIGTERM)
        started.wait(10)
        assert time.monotonic() - stopped < 3
        follower.join(5)
        assert ended.is_set()
    _assert_logged(log, key)


def _assert_logged(log: Path, key: str) -> None:
    text = log.read_text()
    assert key not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("request_id") == "find-me"]
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/v1/jobs", 200)
    assert line["tenant"]


def test_importing_the_api_leaves_torch_out() -> None:
    code = "import sys, api.main, api.admin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
