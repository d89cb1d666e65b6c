"""The local service: `masktune up` and its processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.database import try_lock
from cli.errors import ServicesError
from cli.home import Home, RunningServices, write_private
from cli.local_service import local_service
from cli.output import Output
from cli.services import GRACE_SECONDS, GRACE_VARIABLE, HOST, free_port, grace_seconds
from cli.signals import StopSignals
from persistence.settings import Settings
from tests.cli.command import COMMAND, environment, masktune, masktune_json, masktune_up, wait_until_nothing_runs

_STOP_SECONDS = 40.0


@pytest.fixture
def home() -> Iterator[Path]:
    """Not pytest's folder, whose parents a server that dropped root may not enter."""
    with tempfile.TemporaryDirectory(prefix="masktune-cli-") as folder:
        yield Path(folder).resolve() / "home"


def test_up_serves_until_it_is_stopped_and_finds_everything_again(home: Path) -> None:
    with masktune_up(home, free_port()) as (process, ready):
        assert httpx.get(ready["docs"]).status_code == 200
        made = masktune_json(home, "keys", "create", "a laptop", "--tenant", "other")
        key = ("--api-key", made["api_key"])
        assert masktune_json(home, "jobs", "list", *key) == {"data": []}

        again = masktune(home, "up", "--port", str(free_port()))
        assert again.returncode == 1
        assert f"already running at {ready['url']}" in again.stderr

        process.send_signal(signal.SIGINT)
        assert process.wait(_STOP_SECONDS) == 0
        wait_until_nothing_runs(home)
        assert not (home / "services.json").exists()

    keys = {key["name"]: key for key in masktune_json(home, "keys", "list")["data"]}
    assert "a laptop" in keys
    assert made["api_key"] not in str(keys)
    wait_until_nothing_runs(home)

    first_key = (home / "demo-key.json").read_bytes()
    with masktune_up(home, free_port()) as (process, ready):
        assert (home / "demo-key.json").read_bytes() == first_key
        assert masktune_json(home, "jobs", "list", *key) == {"data": []}
        masktune_json(home, "keys", "revoke", keys["a laptop"]["id"])
        refused = masktune(home, "jobs", "list", *key)
        assert (refused.returncode, "[unauthenticated]" in refused.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_STOP_SECONDS) == 0


def test_two_data_folders_do_not_meet_what_dies_is_started_again_and_what_is_killed_takes_all_with_it(
    home: Path,
) -> None:
    other = home.parent / "other"
    with masktune_up(home, free_port()) as (process, ready), masktune_up(other, free_port()) as (_, other_ready):
        key = read_json(home / "demo-key.json")["api_key"]
        statuses = {
            url: httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code
            for url in (ready["url"], other_ready["url"])
        }
        assert statuses == {ready["url"]: 200, other_ready["url"]: 401}

        fresh = masktune_json(home, "keys", "login-link")["address"]
        for address in (ready["login"], fresh):
            with httpx.Client(follow_redirects=True) as browser:
                assert browser.get(address).url == f"{ready['url']}/jobs"
        assert httpx.get(ready["login"]).status_code == 401  # it has let somebody in already
        tokens = {httpx.URL(address).params["token"] for address in (ready["login"], fresh)}
        logged = "".join(path.read_text(encoding="utf-8") for path in (home / "logs").glob("*.log"))
        assert "/login/link" in logged
        assert [token for token in tokens if token in logged] == []

        before = running_pids(home)
        assert set(before) == {
            "API",
            "job worker",
            "intake worker",
            "control worker",
            "beat",
            "PostgreSQL",
            "Redis",
        }
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 2 * _STOP_SECONDS
        while not (set(before.values()).isdisjoint(running_pids(home).values()) and is_ready(ready["url"])):
            assert time.monotonic() < deadline, (before, running_pids(home))
            time.sleep(0.1)
        assert httpx.get(f"{ready['url']}/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200

        process.kill()
        process.wait()
        wait_until_nothing_runs(home)
        assert httpx.get(f"{other_ready['url']}/readyz").status_code == 200
        with masktune_up(home, free_port()) as (again, again_ready):
            assert httpx.get(f"{again_ready['url']}/readyz").status_code == 200
            again.send_signal(signal.SIGTERM)
            assert again.wait(_STOP_SECONDS) == 0


def test_a_command_uses_what_up_runs_over_the_data_folder_and_starts_nothing(home: Path) -> None:
    with running(home, "up"), StopSignals() as signals:
        with local_service(Home(home), signals, Output.make(json=True)) as service:
            assert (service.url, service.api_key, service.started) == ("http://127.0.0.1:1", "mt_x", False)


def test_a_command_does_not_use_what_a_demo_will_stop(home: Path) -> None:
    with running(home, "demo"), StopSignals() as signals, pytest.raises(ServicesError, match="masktune demo"):
        with local_service(Home(home), signals, Output.make(json=True)):
            pass


def test_a_taken_port_is_named_with_the_way_out_and_nothing_is_left(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = masktune(home, "up", "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 cannot be used" in done.stderr
    assert "--port" in done.stderr
    wait_until_nothing_runs(home)


def test_a_service_that_does_not_start_is_shown_with_its_last_log_lines(home: Path) -> None:
    env = {**environment(home), "MASKTUNE_DEVICES": "abacus"}
    done = subprocess.run(
        [*COMMAND, "up", "--port", str(free_port())], env=env, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 1
    assert re.search(r"the (worker|intake|control|beat|.* worker) exited with code", done.stderr), "whoever was first"
    assert str(home / "logs") in done.stderr
    assert "abacus" in done.stderr
    wait_until_nothing_runs(home)


@contextmanager
def running(home: Path, command: str) -> Iterator[None]:
    """As if another process served over this data folder."""
    folder = Home(home)
    lock = try_lock(folder)
    assert lock is not None
    write_private(folder.key, {"api_key": "mt_x"})
    folder.write_services(RunningServices("http://127.0.0.1:1", 1, "postgresql://", command))
    with lock:
        yield


def running_pids(home: Path) -> dict[str, int]:
    """Process ids of the services and of the two servers."""
    servers = {"PostgreSQL": home / "postgres" / "postmaster.pid", "Redis": home / "run" / "redis" / "redis.pid"}
    found = {name: int(file.read_text().split()[0]) for name, file in servers.items() if file.exists()}
    return {**read_json(home / "services.json")["pids"], **found}


def is_ready(url: str) -> bool:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=10.0)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["checks"]["broker"] == "ok"


def test_workers_get_what_a_trainer_needs_to_write_its_resume_point(home: Path) -> None:
    assert Settings.model_fields["shutdown_grace_seconds"].default == GRACE_SECONDS == grace_seconds({})
    assert grace_seconds({GRACE_VARIABLE: "90"}) == 90.0
    for wrong in ("soon", "-1", "inf"):
        with pytest.raises(ServicesError, match=GRACE_VARIABLE):
            grace_seconds({GRACE_VARIABLE: wrong})


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
