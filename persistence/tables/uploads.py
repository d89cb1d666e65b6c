"""Bytes that came in, and the content-addressed objects that keep them."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, Moment
from persistence.tables.lease import Leased


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


class IncomingUpload(Leased, Base):
    """An upload that is not complete yet. Complete, it becomes the `Upload` of the same id.

    `receiving`: bytes are missing. `verifying`: all are in S3, and a worker reads them once, under the lease. `failed`:
    they were not the announced ones; `error` says so, `{"code", "message"}`, for as long as the row stays.

    `received` bytes are safe. `writer` names the one request that may add to them, `predecessor` the one before until
    that has let go. `multipart_id` is S3's name for the upload, `last_part` the highest part number given out; the
    bytes are those of its `IncomingPart`s and then those of the object `tail`, too few for a part. With `direct` the
    client sends the parts to S3 itself, and they are not known here. `tus_metadata` is the header that it was created
    with. A row stays for a while after its time, so that its owner is told that it has expired.
    """

    __tablename__ = "incoming_uploads"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(20), default="receiving", server_default="receiving")
    filename: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger)
    received: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    expected_sha256: Mapped[str | None] = mapped_column(String(64))
    tus_metadata: Mapped[str | None] = mapped_column(Text)
    direct: Mapped[bool] = mapped_column(default=False, server_default="false")
    multipart_id: Mapped[str | None] = mapped_column(Text)
    last_part: Mapped[int] = mapped_column(default=0, server_default="0")
    tail: Mapped[str | None] = mapped_column(String(32))
    tail_size: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    writer: Mapped[uuid.UUID | None]
    predecessor: Mapped[uuid.UUID | None]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment] = mapped_column(index=True)

    __table_args__ = (
        CheckConstraint("received between 0 and size", name="received_within_size"),
        CheckConstraint("status in ('receiving', 'verifying', 'failed')", name="status_known"),
        Index("ix_incoming_uploads_tenant_id_id", "tenant_id", "id"),
        Index("ix_incoming_uploads_verifying", "created_at", postgresql_where=text("status = 'verifying'")),
    )


class IncomingPart(Base):
    """A part of an unfinished upload that S3 has. Put together by their numbers, not all of which are used."""

    __tablename__ = "incoming_parts"

    upload_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("incoming_uploads.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    etag: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
