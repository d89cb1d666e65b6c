"""Bytes that came in, and the content-addressed objects that keep them."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, Moment


class StoredObject(Base):
    """One object in the store, named by the SHA-256 of its bytes. Rows elsewhere refer to it by that hash.

    `created_at` is when it was last registered. `unreferenced_since` is when housekeeping found that nothing refers to
    it any more. Its bytes lie under `generation`, which is 0 unless a deletion of earlier bytes may still come.
    """

    __tablename__ = "objects"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]
    generation: Mapped[int] = mapped_column(default=0, server_default="0")
    unreferenced_since: Mapped[Moment | None]

    __table_args__ = (
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256_is_hex"),
        Index(
            "ix_objects_unreferenced_since",
            "unreferenced_since",
            postgresql_where=text("unreferenced_since is not null"),
        ),
    )


class ObjectDeletion(Base):
    """Bytes that somebody has begun to delete: one generation of one object. Outlives the object's row."""

    __tablename__ = "object_deletions"

    id: Mapped[Id]
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    generation: Mapped[int]
    begun_at: Mapped[CreatedAt]


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


class IncomingUpload(Base):
    """An upload of which not every byte is there yet. Complete, it becomes the `Upload` of the same id.

    `received` bytes are safe; `writer` names the one request that may add to them. `multipart_id` is S3's name for an
    upload whose parts the client sends to S3 itself. `tus_metadata` is the header that it was created with. A row stays
    for a while after its time, so that its owner is told that it has expired.
    """

    __tablename__ = "incoming_uploads"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    filename: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    expected_sha256: Mapped[str | None] = mapped_column(String(64))
    tus_metadata: Mapped[str | None] = mapped_column(Text)
    multipart_id: Mapped[str | None] = mapped_column(Text)
    writer: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment] = mapped_column(index=True)

    __table_args__ = (
        CheckConstraint("received between 0 and size", name="received_within_size"),
        Index("ix_incoming_uploads_tenant_id_id", "tenant_id", "id"),
    )
