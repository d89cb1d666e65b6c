"""Who calls: tenants and their API keys."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, Moment


class Tenant(Base):
    """An isolated customer: sees its own rows and nothing else.

    A quota that is null is the one of the settings: bytes kept, data sets, unfinished jobs, and jobs that run at the
    same time. `served_at` is when one of its jobs was last claimed: among equals, who waited longest is next.
    """

    __tablename__ = "tenants"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(100), unique=True)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_datasets: Mapped[int | None]
    quota_jobs: Mapped[int | None]
    quota_running: Mapped[int | None]
    served_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]


class ApiKey(Base):
    """A bearer key. Only its SHA-256 is kept; `prefix` is what a person recognises it by.

    `replaced_by` is the key that rotation made of it; it then works until `expires_at`.
    """

    __tablename__ = "api_keys"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16))
    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    scope: Mapped[str] = mapped_column(String(10), default="write", server_default="write")
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[Moment | None]
    expires_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]
    replaced_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("api_keys.id", ondelete="SET NULL"))

    __table_args__ = (CheckConstraint("scope in ('read', 'write', 'admin')", name="scope_known"),)
