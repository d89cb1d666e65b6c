"""Bytes that came in, and the content-addressed objects that keep them."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, Moment


class StoredObject(Base):
    """One object in the store, named by the SHA-256 of its bytes. Rows elsewhere refer to it by that hash.

    `created_at` is when it was last registered: an old object that nothing refers to may be released.
    """

    __tablename__ = "objects"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt] = mapped_column(index=True)

    __table_args__ = (CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_is_hex"),)


class Upload(Base):
    """A received file, not yet said to be a data set or a checkpoint."""

    __tablename__ = "uploads"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    filename: Mapped[str] = mapped_column(String(255))
    sha256: Mapped[str] = mapped_column(ForeignKey("objects.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment] = mapped_column(index=True)

    __table_args__ = (Index("ix_uploads_tenant_id_id", "tenant_id", "id"),)
