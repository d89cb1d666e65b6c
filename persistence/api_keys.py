"""API keys: `mt_` and 32 random bytes. Only the SHA-256 is kept; a random key needs no slow hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from persistence.errors import NotFound
from persistence.tables import ApiKey

_PREFIX: Final = "mt_"
_PREFIX_SHOWN: Final = 8
_USED_RESOLUTION: Final = timedelta(minutes=1)


def create(session: Session, tenant_id: uuid.UUID, name: str) -> tuple[ApiKey, str]:
    """A new key and its secret, which is never readable again."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(tenant_id=tenant_id, name=name, prefix=secret[:_PREFIX_SHOWN], key_hash=_hash(secret))
    session.add(key)
    session.flush()
    return key, secret


def authenticate(session: Session, secret: str) -> ApiKey | None:
    """The key with this secret, unless it is unknown or revoked. Notes its use, at most once a minute."""
    if not secret.startswith(_PREFIX):
        return None
    hashed = _hash(secret)
    key = session.scalars(select(ApiKey).where(ApiKey.key_hash == hashed, ApiKey.revoked_at.is_(None))).one_or_none()
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


def list_keys(session: Session, tenant_id: uuid.UUID | None = None) -> Sequence[ApiKey]:
    """Keys of one tenant, or of all, newest first, revoked ones too."""
    statement = select(ApiKey).order_by(ApiKey.id.desc())
    return session.scalars(statement if tenant_id is None else statement.where(ApiKey.tenant_id == tenant_id)).all()


def revoke(session: Session, key_id: uuid.UUID) -> ApiKey:
    """From now on the key is refused; revoking twice keeps the first time. Raises `NotFound`."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound("api_key", key_id)
    if key.revoked_at is None:
        key.revoked_at = func.now()
        session.flush()
        session.refresh(key)
    return key


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
