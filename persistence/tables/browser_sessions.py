"""People in a browser: their sessions, the addresses that log them in, and how often a client tried."""

from __future__ import annotations

import uuid

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, Moment


class BrowserSession(Base):
    """A browser that is logged in. Only the SHA-256 of its token is kept; logging out deletes the row.

    One that was opened with an API key ends with that key.
    """

    __tablename__ = "browser_sessions"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    api_key_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment] = mapped_column(index=True)


class LoginLink(Base):
    """An address that logs a browser in, once. Only the SHA-256 of its token is kept."""

    __tablename__ = "login_links"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment] = mapped_column(index=True)


class LoginAttempts(Base):
    """How often one client address tried to log in since `started_at`."""

    __tablename__ = "login_attempts"

    client: Mapped[str] = mapped_column(String(100), primary_key=True)
    started_at: Mapped[Moment] = mapped_column(index=True)
    count: Mapped[int]
