"""Keys are made, rotated and revoked over HTTP by keys of scope `admin`; what a key may do is its scope."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from persistence import api_keys, browser_sessions
from persistence.database import transaction
from tests.api.test_errors import problem


@pytest.fixture
def admin(anonymous: TestClient, make_key: Callable[..., str]) -> TestClient:
    anonymous.headers["Authorization"] = f"Bearer {make_key('acme', scope='admin')}"
    return anonymous


def made(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/keys", json={"name": "new", **body})
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/keys/{answer['id']}"
    return answer


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def test_a_made_key_works_and_its_secret_is_shown_once(admin: TestClient) -> None:
    key = made(admin, scope="read")
    assert key["key"].startswith(key["prefix"])
    assert admin.get("/v1/jobs", headers=bearer(key)).status_code == 200
    shown = admin.get(f"/v1/keys/{key['id']}")
    assert shown.json()["last_used_at"] is not None
    assert key["key"] not in shown.text + admin.get("/v1/keys").text
    assert key["id"] in {item["id"] for item in admin.get("/v1/keys").json()["data"]}


@pytest.mark.parametrize("scope", ["read", "write"])
def test_only_an_admin_key_manages_keys(admin: TestClient, scope: str) -> None:
    key = made(admin, scope=scope)
    response = admin.get("/v1/keys", headers=bearer(key))
    assert problem(response, 403, "insufficient_scope")["scope"] == "admin"
    assert 'error="insufficient_scope", scope="admin"' in response.headers["www-authenticate"]
    problem(
        admin.post("/v1/keys", json={"name": "more", "scope": "admin"}, headers=bearer(key)), 403, "insufficient_scope"
    )


def test_a_rotated_key_works_on_until_its_grace_is_over(admin: TestClient) -> None:
    old = made(admin, scope="read")
    new = admin.post(f"/v1/keys/{old['id']}/rotate", json={"grace_seconds": 3600}).json()
    assert (new["name"], new["scope"]) == (old["name"], old["scope"])
    for key in (old, new):
        assert admin.get("/v1/jobs", headers=bearer(key)).status_code == 200
    shown = admin.get(f"/v1/keys/{old['id']}").json()
    assert shown["replaced_by"] == new["id"]
    assert datetime.fromisoformat(shown["expires_at"]) < datetime.now(UTC) + timedelta(seconds=3601)
    problem(admin.post(f"/v1/keys/{old['id']}/rotate", json={}), 409, "api_key_replaced")
    newest = admin.post(f"/v1/keys/{new['id']}/rotate", json={"grace_seconds": 0}).json()
    assert [admin.get("/v1/jobs", headers=bearer(key)).status_code for key in (new, newest)] == [401, 200]


def test_a_revoked_key_is_refused_and_cannot_be_rotated(admin: TestClient) -> None:
    key = made(admin)
    assert admin.delete(f"/v1/keys/{key['id']}").status_code == 204
    problem(admin.get("/v1/jobs", headers=bearer(key)), 401, "unauthenticated")
    problem(admin.post(f"/v1/keys/{key['id']}/rotate", json={}), 409, "api_key_inactive")


def test_a_key_ends_and_its_browser_sessions_with_it(admin: TestClient, sessions: sessionmaker[Session]) -> None:
    key = made(admin, expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    with transaction(sessions) as session:
        row = api_keys.authenticate(session, key["key"])
        assert row is not None
        _, token = browser_sessions.create(session, row.tenant_id, row.id)
        assert browser_sessions.authenticate(session, token) is not None
        row.expires_at = datetime.now(UTC)
    with transaction(sessions) as session:
        assert browser_sessions.authenticate(session, token) is None
    problem(admin.get("/v1/jobs", headers=bearer(key)), 401, "unauthenticated")


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "x", "scope": "root"},
        {"name": "x", "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "2100-01-01T00:00:00"},
        {"name": "x", "tenant": "other"},
        {},
    ],
)
def test_what_makes_no_key(admin: TestClient, body: dict[str, Any]) -> None:
    problem(admin.post("/v1/keys", json=body), 422, "invalid_request")


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "2200-01-01T00:00:00Z"])
def test_an_end_too_far_away_is_refused_with_the_way_out(admin: TestClient, moment: str) -> None:
    answer = problem(admin.post("/v1/keys", json={"name": "x", "expires_at": moment}), 422, "invalid_request")
    [error] = answer["errors"]
    assert error["pointer"] == "/expires_at"
    assert "within 36500 days from now: leave it out" in error["detail"]


def test_a_key_that_lives_as_long_as_it_may_can_be_rotated_again_and_again(admin: TestClient) -> None:
    key = made(admin, expires_at=(datetime.now(UTC) + timedelta(days=36500) - timedelta(minutes=1)).isoformat())
    for _ in range(3):
        response = admin.post(f"/v1/keys/{key['id']}/rotate", json={})
        assert response.status_code == 201, response.text
        key = response.json()
    assert datetime.fromisoformat(key["expires_at"]) <= datetime.now(UTC) + timedelta(days=36500)
    assert admin.get("/v1/jobs", headers=bearer(key)).status_code == 200


def test_an_unknown_key_is_not_found(admin: TestClient) -> None:
    for name in (uuid.uuid4(), "nonsense"):
        problem(admin.get(f"/v1/keys/{name}"), 404, "api_key_not_found")
        problem(admin.delete(f"/v1/keys/{name}"), 404, "api_key_not_found")


def test_a_browser_may_do_what_the_key_that_opened_it_may(
    anonymous: TestClient, make_key: Callable[..., str], sessions: sessionmaker[Session]
) -> None:
    make_key("acme", scope="read")
    with transaction(sessions) as session:
        [row] = api_keys.list_keys(session)
        _, token = browser_sessions.create(session, row.tenant_id, row.id)
    anonymous.cookies.set("masktune_session", token)
    assert anonymous.get("/v1/jobs").status_code == 200
    problem(anonymous.get("/v1/keys"), 403, "insufficient_scope")
