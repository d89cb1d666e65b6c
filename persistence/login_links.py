"""Addresses that log a browser in: each works once, and only for a short time."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from persistence.tables import LoginLink

LIFETIME: Final = timedelta(minutes=15)


def create(session: Session, tenant_id: uuid.UUID) -> tuple[LoginLink, str]:
    """A new link and its token, which is never readable again. Forgets links whose time is over on the way."""
    session.execute(
        delete(LoginLink).where(LoginLink.expires_at <= func.now()), execution_options={"synchronize_session": False}
    )
    token = secrets.token_urlsafe(32)
    link = LoginLink(tenant_id=tenant_id, token_hash=_hash(token), expires_at=func.now() + LIFETIME)
    session.add(link)
    session.flush()
    session.refresh(link)
    return link, token


def use(session: Session, token: str) -> uuid.UUID | None:
    """The tenant that this link lets in; None when it is unknown, used or over. Of two at once only one gets in."""
    return session.scalars(
        delete(LoginLink)
        .where(LoginLink.token_hash == _hash(token), LoginLink.expires_at > func.now())
        .returning(LoginLink.tenant_id),
        execution_options={"synchronize_session": False},
    ).one_or_none()


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
