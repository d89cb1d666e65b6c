"""API keys: `mt_` and 32 random bytes. Only the SHA-256 is kept; a random key needs no slow hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from persistence.errors import Conflict, NotFound
from persistence.pages import Page, cut
from persistence.scopes import Scope
from persistence.tables import ApiKey

LONGEST_LIFE: Final = timedelta(days=36500)
"""Of a key that ends at all. Far from year 10000, which PostgreSQL can keep and Python cannot read."""
_PREFIX: Final = "mt_"
_PREFIX_SHOWN: Final = 8
_USED_RESOLUTION: Final = timedelta(minutes=1)


def create(
    session: Session, tenant_id: uuid.UUID, name: str, *, scope: Scope = "write", expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never readable again. Without `expires_at` it works until it is revoked."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        tenant_id=tenant_id,
        name=name,
        prefix=secret[:_PREFIX_SHOWN],
        key_hash=_hash(secret),
        scope=scope,
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key, secret


def authenticate(session: Session, secret: str) -> ApiKey | None:
    """The key with this secret, unless it is unknown, revoked or over. Notes its use, at most once a minute."""
    if not secret.startswith(_PREFIX):
        return None
    hashed = _hash(secret)
    key = session.scalars(select(ApiKey).where(ApiKey.key_hash == hashed, is_active())).one_or_none()
    # The index found it by hash, and timing that tells nothing about the secret; compared again in constant time.
    if key is None or not hmac.compare_digest(key.key_hash, hashed):
        return None
    session.execute(
        update(ApiKey)
        .where(
            ApiKey.id == key.id,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _USED_RESOLUTION),
        )
        .values(last_used_at=func.now()),
        execution_options={"synchronize_session": False},
    )
    return key


def is_active() -> ColumnElement[bool]:
    """SQL: the key is neither revoked nor over."""
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


def active_among(session: Session, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the ids that are keys which work now."""
    return set(session.scalars(select(ApiKey.id).where(ApiKey.id.in_(ids), is_active())))


def get(session: Session, tenant_id: uuid.UUID, key_id: uuid.UUID) -> ApiKey:
    """One key of a tenant. Raises `NotFound`."""
    key = session.scalars(select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == tenant_id)).one_or_none()
    if key is None:
        raise NotFound("api_key", key_id)
    return key


def list_keys(session: Session, tenant_id: uuid.UUID | None = None) -> Sequence[ApiKey]:
    """Keys of one tenant, or of all, newest first, revoked ones too."""
    statement = select(ApiKey).order_by(ApiKey.id.desc())
    return session.scalars(statement if tenant_id is None else statement.where(ApiKey.tenant_id == tenant_id)).all()


def list_page(
    session: Session, tenant_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int = 50
) -> Page[ApiKey]:
    """Keys of a tenant, newest first, revoked ones too. `after` is the `next` of the page before."""
    statement = select(ApiKey).where(ApiKey.tenant_id == tenant_id)
    if after is not None:
        statement = statement.where(ApiKey.id < after)
    rows = session.scalars(statement.order_by(ApiKey.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda key: key.id)


def rotate(
    session: Session, key_id: uuid.UUID, grace: timedelta, *, tenant_id: uuid.UUID | None = None
) -> tuple[ApiKey, str]:
    """A successor with the same name, scope and length of life, and its secret; the old key works `grace` longer.

    Raises `NotFound`, and `Conflict` when the key is revoked or over (`api_key_inactive`) or has a successor already
    (`api_key_replaced`).
    """
    old = _locked(session, key_id, tenant_id)
    now = session.scalars(select(func.now())).one()
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise Conflict("api_key_inactive", f"key {old.prefix}… is revoked or over: make a new key")
    if old.replaced_by is not None:
        raise Conflict(
            "api_key_replaced", f"key {old.prefix}… was rotated before: rotate its successor {old.replaced_by}"
        )
    lifetime = None if old.expires_at is None else min(old.expires_at - old.created_at, LONGEST_LIFE)
    new, secret = create(
        session,
        old.tenant_id,
        old.name,
        scope=_scope_of(old),
        expires_at=None if lifetime is None else now + lifetime,
    )
    old.replaced_by = new.id
    old.expires_at = min(now + grace, old.expires_at or now + grace)
    session.flush()
    return new, secret


def revoke(session: Session, key_id: uuid.UUID, *, tenant_id: uuid.UUID | None = None) -> ApiKey:
    """From now on the key is refused; revoking twice keeps the first time. Raises `NotFound`."""
    key = _locked(session, key_id, tenant_id)
    if key.revoked_at is None:
        key.revoked_at = func.now()
        session.flush()
        session.refresh(key)
    return key


def _locked(session: Session, key_id: uuid.UUID, tenant_id: uuid.UUID | None) -> ApiKey:
    statement = select(ApiKey).where(ApiKey.id == key_id).with_for_update()
    if tenant_id is not None:
        statement = statement.where(ApiKey.tenant_id == tenant_id)
    key = session.scalars(statement, execution_options={"populate_existing": True}).one_or_none()
    if key is None:
        raise NotFound("api_key", key_id)
    return key


def _scope_of(key: ApiKey) -> Scope:
    if key.scope == "admin":
        return "admin"
    return "write" if key.scope == "write" else "read"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
