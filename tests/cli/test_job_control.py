"""`masktune jobs pause | resume | cancel | stages` and `submit --priority`, on the real API."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from persistence import api_keys, jobs, tenants
from persistence.database import transaction
from persistence.settings import Settings
from persistence.store import ObjectStore
from tests.api.conftest import serving
from tests.api.seeds import Seeds
from tests.cli.command import COMMAND, environment


class Terminal:
    """Commands of a user of tenant acme, whose service runs."""

    def __init__(self, home: Path, url: str, key: str, seeds: Seeds) -> None:
        self.seeds = seeds
        self._environment = environment(home) | {"MASKTUNE_URL": url, "MASKTUNE_API_KEY": key}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "jobs", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120.0,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def terminal(
    settings: Settings, sessions: sessionmaker[Session], store: ObjectStore, tmp_path: Path
) -> Iterator[Terminal]:
    with transaction(sessions) as session:
        tenant_id = tenants.get_or_create(session, "acme").id
        _, key = api_keys.create(session, tenant_id, "terminal")
    with serving(settings) as (url, _):
        yield Terminal(tmp_path, url, key, Seeds(sessions, store, tenant_id))


def test_a_job_is_paused_resumed_and_cancelled(terminal: Terminal) -> None:
    job = str(terminal.seeds.job())
    done = terminal.run("pause", job)
    assert (done.returncode, done.stdout) == (0, f"job {job} is paused\n")
    assert terminal.json("resume", job)["status"] == "queued"
    assert terminal.json("cancel", job)["status"] == "cancelled"
    assert terminal.json("resume", job)["status"] == "queued", "also after a cancellation"


def test_a_running_job_is_asked_to_pause(terminal: Terminal) -> None:
    job = terminal.seeds.job()
    terminal.seeds.claim(job)
    assert terminal.run("pause", str(job)).stdout == f"job {job} is pausing\n"


def test_what_cannot_be_is_said_in_a_sentence_and_fails(terminal: Terminal) -> None:
    job = terminal.seeds.job()
    terminal.seeds.finish(job, terminal.seeds.claim(job))
    for action, code in (("pause", "job_not_pausable"), ("resume", "job_not_resumable")):
        done = terminal.run(action, str(job))
        assert done.returncode == 1
        assert done.stdout == ""
        assert code in done.stderr
        assert "succeeded" in done.stderr
    done = terminal.run("pause", str(uuid.uuid4()))
    assert (done.returncode, "job_not_found" in done.stderr) == (1, True)


def test_a_job_is_submitted_with_a_priority_and_shows_its_place(terminal: Terminal) -> None:
    dataset = str(terminal.seeds.dataset())
    first = terminal.json("submit", dataset, "--preset", "biased_mnist")
    second = terminal.json("submit", dataset, "--preset", "biased_mnist", "--priority", "7")
    assert (second["priority"], second["queue_position"]) == (7, 1)
    assert terminal.json("show", first["id"])["queue_position"] == 2
    shown = terminal.run("show", first["id"]).stdout
    assert "queue_position" in shown
    assert terminal.run("submit", dataset, "--priority", "101").returncode == 2


def test_the_stages_of_a_job_are_a_table(terminal: Terminal) -> None:
    job = terminal.seeds.job()
    token = terminal.seeds.claim(job)
    with transaction(terminal.seeds.sessions) as session:
        jobs.enter_stage(session, job, token, "masking", 1)
    (stage,) = terminal.json("stages", str(job))["data"]
    assert (stage["attempt"], stage["stage"], stage["iteration"], stage["left_at"]) == (1, "masking", 1, None)
    assert "masking" in terminal.run("stages", str(job)).stdout
