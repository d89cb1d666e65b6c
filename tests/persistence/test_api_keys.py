"""API keys: shown once, kept as a hash, refused once revoked."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from persistence import api_keys, tenants
from persistence.errors import Conflict, NotFound
from persistence.scopes import SCOPES, allows
from persistence.tables import ApiKey
from tests.fixtures.records import make_tenant, unique


def test_a_key_is_known_by_its_secret_alone(session: Session) -> None:
    tenant = make_tenant(session)
    key, secret = api_keys.create(session, tenant, "laptop")
    assert secret.startswith("mt_")
    assert key.prefix == secret[:8]
    assert key.key_hash == hashlib.sha256(secret.encode()).digest()
    found = api_keys.authenticate(session, secret)
    assert found is not None
    assert (found.id, found.tenant_id) == (key.id, tenant)
    for wrong in ("", "mt_", secret[:-1], secret + "x", secret.upper(), secret[3:], "mt_\x00é"):
        assert api_keys.authenticate(session, wrong) is None


def test_the_secret_is_nowhere_in_the_row(session: Session) -> None:
    key, secret = api_keys.create(session, make_tenant(session), "laptop")
    stored = repr([getattr(key, column.key) for column in ApiKey.__table__.columns])
    assert secret not in stored
    assert secret[8:] not in stored


def test_a_revoked_key_is_refused_and_stays_listed(session: Session) -> None:
    tenant = make_tenant(session)
    key, secret = api_keys.create(session, tenant, "laptop")
    other, other_secret = api_keys.create(session, tenant, "server")
    first = api_keys.revoke(session, key.id).revoked_at
    assert first is not None
    assert api_keys.revoke(session, key.id).revoked_at == first
    assert api_keys.authenticate(session, secret) is None
    assert api_keys.authenticate(session, other_secret) is not None
    assert [row.id for row in api_keys.list_keys(session, tenant)] == [other.id, key.id]
    assert api_keys.list_keys(session, make_tenant(session)) == []
    with pytest.raises(NotFound, match="no api_key"):
        api_keys.revoke(session, uuid.uuid4())


def test_the_last_use_is_noted_at_most_once_a_minute(session: Session) -> None:
    key, secret = api_keys.create(session, make_tenant(session), "laptop")
    api_keys.authenticate(session, secret)
    session.refresh(key)
    noted = key.last_used_at
    assert noted is not None
    key.last_used_at = noted - timedelta(seconds=50)
    session.flush()
    api_keys.authenticate(session, secret)
    session.refresh(key)
    assert key.last_used_at == noted - timedelta(seconds=50)
    key.last_used_at = noted - timedelta(seconds=61)
    session.flush()
    api_keys.authenticate(session, secret)
    session.refresh(key)
    assert key.last_used_at == noted


def test_a_key_works_until_its_end(session: Session) -> None:
    _, secret = api_keys.create(
        session, make_tenant(session), "guest", expires_at=datetime.now(UTC) + timedelta(hours=1)
    )
    _, over = api_keys.create(
        session, make_tenant(session), "guest", expires_at=datetime.now(UTC) - timedelta(seconds=1)
    )
    assert api_keys.authenticate(session, secret) is not None
    assert api_keys.authenticate(session, over) is None


def test_a_rotated_key_works_for_the_grace_period(session: Session) -> None:
    tenant = make_tenant(session)
    old, old_secret = api_keys.create(session, tenant, "server", scope="read")
    new, new_secret = api_keys.rotate(session, old.id, timedelta(hours=1))
    assert (new.tenant_id, new.name, new.scope, new.expires_at) == (tenant, "server", "read", None)
    assert old.replaced_by == new.id
    for secret, key in ((old_secret, old), (new_secret, new)):
        found = api_keys.authenticate(session, secret)
        assert found is not None
        assert found.id == key.id
    assert old.expires_at is not None
    old.expires_at -= timedelta(hours=1)
    session.flush()
    assert api_keys.authenticate(session, old_secret) is None
    assert api_keys.authenticate(session, new_secret) is not None


def test_without_grace_the_old_key_is_refused_at_once(session: Session) -> None:
    key, secret = api_keys.create(session, make_tenant(session), "leaked")
    api_keys.rotate(session, key.id, timedelta(0))
    assert api_keys.authenticate(session, secret) is None


def test_a_successor_lives_as_long_as_the_key_was_to_live_and_grace_never_prolongs(session: Session) -> None:
    ends = datetime.now(UTC) + timedelta(days=2)
    key, _ = api_keys.create(session, make_tenant(session), "guest", expires_at=ends)
    key.created_at -= timedelta(days=28)
    session.flush()
    new, _ = api_keys.rotate(session, key.id, timedelta(days=20))
    assert key.expires_at == ends
    assert new.expires_at is not None
    assert abs(new.expires_at - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)


def test_a_key_from_before_the_limit_is_rotated_into_one_within_it(session: Session) -> None:
    key, _ = api_keys.create(session, make_tenant(session), "old", expires_at=datetime.max.replace(tzinfo=UTC))
    new, _ = api_keys.rotate(session, key.id, timedelta(hours=1))
    assert new.expires_at is not None
    assert new.expires_at <= datetime.now(UTC) + api_keys.LONGEST_LIFE


def test_a_key_is_rotated_once_and_only_while_it_works(session: Session) -> None:
    tenant = make_tenant(session)
    key, _ = api_keys.create(session, tenant, "server")
    api_keys.rotate(session, key.id, timedelta(hours=1))
    with pytest.raises(Conflict, match="rotate its successor"):
        api_keys.rotate(session, key.id, timedelta(hours=1))
    revoked, _ = api_keys.create(session, tenant, "revoked")
    api_keys.revoke(session, revoked.id)
    with pytest.raises(Conflict, match="revoked or over"):
        api_keys.rotate(session, revoked.id, timedelta(hours=1))
    with pytest.raises(NotFound):
        api_keys.rotate(
            session, api_keys.create(session, tenant, "x")[0].id, timedelta(0), tenant_id=make_tenant(session)
        )


def test_each_scope_allows_what_the_one_before_does() -> None:
    allowed = {held: [needed for needed in SCOPES if allows(held, needed)] for held in (*SCOPES, "root", "")}
    assert allowed == {
        "read": ["read"],
        "write": ["read", "write"],
        "admin": ["read", "write", "admin"],
        "root": [],
        "": [],
    }


def test_a_tenant_is_made_once(session: Session) -> None:
    name = unique("tenant")
    assert tenants.get_or_create(session, name).id == tenants.get_or_create(session, name).id
