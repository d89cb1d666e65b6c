"""`masktune admin`: tenants and their limits, in the database that the environment names."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from persistence.database import transaction
from persistence.settings import Settings
from persistence.tables import Upload
from tests.cli.command import COMMAND, environment
from tests.fixtures.records import make_tenant, make_upload


@pytest.fixture
def admin_environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path) | {"MASKTUNE_DATABASE_URL": settings.database_url.get_secret_value()}


def admin(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "admin", *arguments], env=env, capture_output=True, text=True, timeout=120.0, check=False
    )


def answer(env: dict[str, str], *arguments: str) -> Any:
    done = admin(env, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_tenant_is_limited_and_shown_with_what_it_uses(admin_environment: dict[str, str]) -> None:
    limits = answer(admin_environment, "set-quota", "acme", "--jobs", "5", "--running", "2")
    assert limits == {"tenant": "acme", "bytes": None, "datasets": None, "jobs": 5, "running": 2}
    (acme,) = (each for each in answer(admin_environment, "tenants")["data"] if each["tenant"] == "acme")
    assert (acme["jobs"], acme["running"]) == ({"limit": 5, "used": 0}, {"limit": 2, "used": 0})
    assert acme["datasets"]["limit"] == 1000, "of the settings"
    shown = admin(admin_environment, "tenants").stdout
    assert "0 of 5" in shown
    assert "0 of 2" in shown


@pytest.mark.parametrize("wrong", ["-1", "many", "2147483648"])
def test_a_limit_that_is_none_is_refused(admin_environment: dict[str, str], wrong: str) -> None:
    assert admin(admin_environment, "set-quota", "acme", "--jobs", wrong).returncode != 0


def test_gc_says_what_would_go_and_takes_it_when_asked(
    admin_environment: dict[str, str], sessions: sessionmaker[Session]
) -> None:
    with transaction(sessions) as session:
        kept = make_upload(session, make_tenant(session)).id
        make_upload(session, make_tenant(session), ttl=timedelta(0))
    for _ in range(2):
        assert answer(admin_environment, "gc", "--dry-run")["uploads"] == 1
    told = admin(admin_environment, "gc")
    assert told.returncode == 0, told.stderr
    assert re.search(r"uploads\s+1\b", told.stdout)
    after = answer(admin_environment, "gc", "--idle")
    assert (after["dry_run"], after["uploads"], after["objects"]) == (False, 0, 1)
    with transaction(sessions) as session:
        assert [upload.id for upload in session.scalars(select(Upload))] == [kept]
