"""API keys: shown once, kept as a hash, refused once revoked."""

from __future__ import annotations

import hashlib
import uuid
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from persistence import api_keys, tenants
from persistence.errors import NotFound
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


def test_a_tenant_is_made_once(session: Session) -> None:
    name = unique("tenant")
    assert tenants.get_or_create(session, name).id == tenants.get_or_create(session, name).id
