"""Browsers that are logged in: a random token in a cookie, of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from persistence import api_keys
from persistence.tables import ApiKey, BrowserSession

LIFETIME: Final = timedelta(days=7)


def create(session: Session, tenant_id: uuid.UUID, api_key_id: uuid.UUID | None = None) -> tuple[BrowserSession, str]:
    """A new session and its token, which is never readable again; it ends after `LIFETIME`, or with the API key.

    Forgets sessions whose time is over on the way.
    """
    session.execute(
        delete(BrowserSession).where(BrowserSession.expires_at <= func.now()),
        execution_options={"synchronize_session": False},
    )
    token = secrets.token_urlsafe(32)
    opened = BrowserSession(
        tenant_id=tenant_id, api_key_id=api_key_id, token_hash=_hash(token), expires_at=func.now() + LIFETIME
    )
    session.add(opened)
    session.flush()
    return opened, token


def authenticate(session: Session, token: str) -> BrowserSession | None:
    """The session with this token, unless it is unknown, over, logged out, or its API key was revoked or is over."""
    return session.scalars(
        select(BrowserSession)
        .outerjoin(ApiKey, ApiKey.id == BrowserSession.api_key_id)
        .where(BrowserSession.token_hash == _hash(token), _is_open())
    ).one_or_none()


def open_among(session: Session, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the ids that are sessions which are open now."""
    return set(
        session.scalars(
            select(BrowserSession.id)
            .outerjoin(ApiKey, ApiKey.id == BrowserSession.api_key_id)
            .where(BrowserSession.id.in_(ids), _is_open())
        )
    )


def end(session: Session, session_id: uuid.UUID) -> None:
    """Log out: the token is refused from now on. Ending one that is not there changes nothing."""
    session.execute(
        delete(BrowserSession).where(BrowserSession.id == session_id), execution_options={"synchronize_session": False}
    )


def end_all(session: Session, tenant_id: uuid.UUID) -> None:
    """Log every browser of a tenant out."""
    session.execute(
        delete(BrowserSession).where(BrowserSession.tenant_id == tenant_id),
        execution_options={"synchronize_session": False},
    )


def _is_open() -> ColumnElement[bool]:
    return and_(BrowserSession.expires_at > func.now(), or_(BrowserSession.api_key_id.is_(None), api_keys.is_active()))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
