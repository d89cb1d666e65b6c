"""API keys on the command line."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.admin import main
from persistence import jobs
from persistence.database import transaction
from persistence.settings import Settings, get_settings
from tests.api.seeds import Seeds


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKTUNE_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("MASKTUNE_REDIS_URL", settings.redis_url.get_secret_value())
    get_settings.cache_clear()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_made_key_works_until_it_is_revoked(capsys: pytest.CaptureFixture[str], anonymous: TestClient) -> None:
    made = run(capsys, "create-key", "--tenant", "acme", "--name", "laptop")
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert made["key"].startswith(made["prefix"])
    assert anonymous.get("/v1/jobs", headers=headers).status_code == 200
    assert run(capsys, "revoke-key", made["id"])["revoked_at"] is not None
    assert anonymous.get("/v1/jobs", headers=headers).status_code == 401


def test_keys_are_listed_without_their_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, "create-key", "--tenant", "acme", "--name", "one")
    run(capsys, "create-key", "--tenant", "other", "--name", "two")
    listed = run(capsys, "list-keys")
    assert {key["name"] for key in listed["data"]} == {"one", "two"}
    assert first["key"] not in json.dumps(listed)
    assert [key["id"] for key in run(capsys, "list-keys", "--tenant", "acme")["data"]] == [first["id"]]


def test_a_key_has_the_scope_and_the_end_that_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    made = run(capsys, "create-key", "--tenant", "acme", "--name", "guest", "--scope", "read", "--days", "2")
    assert made["scope"] == "read"
    assert made["expires_at"] is not None
    for wrong in (["--scope", "root"], ["--days", "0"], ["--days", "soon"]):
        with pytest.raises(SystemExit):
            main(["create-key", "--tenant", "acme", "--name", "x", *wrong])


def test_a_key_is_rotated_once(capsys: pytest.CaptureFixture[str], anonymous: TestClient) -> None:
    old = run(capsys, "create-key", "--tenant", "acme", "--name", "laptop")
    new = run(capsys, "rotate-key", old["id"], "--grace-hours", "1")
    for key in (old, new):
        headers = {"Authorization": f"Bearer {key['key']}"}
        assert anonymous.get("/v1/jobs", headers=headers).status_code == 200
    assert main(["rotate-key", old["id"]]) == 1
    assert new["id"] in capsys.readouterr().err


def test_for_people_it_is_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create-key", "--tenant", "acme", "--name", "laptop"]) == 0
    assert "mt_" in capsys.readouterr().out


def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = str(uuid.uuid4())
    assert main(["revoke-key", unknown]) == 1
    assert unknown in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["create-key", "--tenant", "", "--name", "x"])


def test_a_tenant_can_be_limited(capsys: pytest.CaptureFixture[str], anonymous: TestClient) -> None:
    made = run(capsys, "create-key", "--tenant", "acme", "--name", "laptop")
    limits = run(capsys, "set-quota", "--tenant", "acme", "--bytes", "5")
    assert limits == {"tenant": "acme", "bytes": 5, "datasets": None, "jobs": None, "running": None}
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert anonymous.put("/v1/uploads/a", content=b"123456", headers=headers).json()["limit"] == 5


def test_a_running_quota_set_here_holds_for_claims(
    capsys: pytest.CaptureFixture[str], seeds: Seeds, sessions: sessionmaker[Session]
) -> None:
    run(capsys, "set-quota", "--tenant", "acme", "--running", "1", "--jobs", "3")
    for _ in range(2):
        seeds.job()
    with transaction(sessions) as session:
        claims = [jobs.claim_next(session, worker="worker", lease_seconds=60.0) for _ in range(2)]
    assert [claim is not None for claim in claims] == [True, False]
    (acme,) = (tenant for tenant in run(capsys, "list-tenants")["data"] if tenant["tenant"] == "acme")
    assert (acme["jobs"], acme["running"]) == ({"limit": 3, "used": 2}, {"limit": 1, "used": 1})
    run(capsys, "set-quota", "--tenant", "acme")
    (acme,) = (tenant for tenant in run(capsys, "list-tenants")["data"] if tenant["tenant"] == "acme")
    assert (acme["jobs"]["limit"], acme["running"]["limit"]) == (200, None), "the settings' again"


@pytest.mark.parametrize("wrong", ["-1", "many", "9" * 20])
def test_a_limit_is_a_number_from_zero(wrong: str) -> None:
    with pytest.raises(SystemExit):
        main(["set-quota", "--tenant", "acme", "--jobs", wrong])
