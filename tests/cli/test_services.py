"""The local service: `masktune up` and its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cli.services import HOST, free_port
from tests.cli.command import COMMAND, environment, masktune, masktune_json, masktune_up, wait_until_nothing_runs


@pytest.fixture
def home() -> Iterator[Path]:
    """Not pytest's folder, whose parents a server that dropped root may not enter."""
    with tempfile.TemporaryDirectory(prefix="masktune-cli-") as folder:
        yield Path(folder).resolve() / "home"


def up_and_ready(home: Path, port: int) -> subprocess.CompletedProcess[str]:
    return masktune(home, "up", "--port", str(port))


def test_up_serves_until_it_is_stopped_and_finds_everything_again(home: Path) -> None:
    with masktune_up(home, free_port()) as (process, ready):
        assert httpx.get(ready["docs"]).status_code == 200
        made = masktune_json(home, "keys", "create", "a laptop", "--tenant", "other")
        assert masktune_json(home, "jobs", "list") == {"data": []}
        key = ("--api-key", made["api_key"])
        assert masktune(home, "jobs", "list", *key).returncode == 0

        again = up_and_ready(home, free_port())
        assert again.returncode == 1
        assert f"already running at {ready['url']}" in again.stderr

        process.send_signal(signal.SIGINT)
        assert process.wait(40.0) == 0
        wait_until_nothing_runs(home)
        assert not (home / "services.json").exists()

    keys = {key["name"]: key for key in masktune_json(home, "keys", "list")["data"]}
    assert "a laptop" in keys
    assert made["api_key"] not in str(keys)
    wait_until_nothing_runs(home)

    first_key = (home / "demo-key.json").read_bytes()
    with masktune_up(home, free_port()) as (process, ready):
        assert masktune(home, "jobs", "list", *key).returncode == 0
        assert (home / "demo-key.json").read_bytes() == first_key
        masktune_json(home, "keys", "revoke", keys["a laptop"]["id"])
        refused = masktune(home, "jobs", "list", *key)
        assert (refused.returncode, "[unauthenticated]" in refused.stderr) == (1, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40.0) == 0


def test_a_killed_command_leaves_no_process_behind_and_the_next_start_recovers(home: Path) -> None:
    with masktune_up(home, free_port()) as (process, _):
        process.kill()
        process.wait()
        wait_until_nothing_runs(home)
    with masktune_up(home, free_port()) as (process, ready):
        assert httpx.get(f"{ready['url']}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(40.0) == 0


def test_two_data_folders_do_not_meet_and_a_dead_service_is_started_again(home: Path) -> None:
    other = home.parent / "other"
    with masktune_up(home, free_port()) as (process, ready), masktune_up(other, free_port()) as (_, other_ready):
        key = masktune_json(home, "keys", "create", "mine")["api_key"]
        foreign = httpx.get(f"{other_ready['url']}/v1/jobs", headers={"Authorization": f"Bearer {key}"})
        assert foreign.status_code == 401

        worker = _pids(home)["job worker"]
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 20.0
        while _pids(home)["job worker"] == worker:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert httpx.get(f"{ready['url']}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(40.0) == 0


def test_a_taken_port_is_named_with_the_way_out_and_nothing_is_left(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = up_and_ready(home, port)
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
    assert "worker exited with code" in done.stderr
    assert str(home / "logs") in done.stderr
    assert "abacus" in done.stderr
    wait_until_nothing_runs(home)


def _pids(home: Path) -> dict[str, int]:
    import json

    pids: dict[str, int] = json.loads((home / "services.json").read_text())["pids"]
    return pids
