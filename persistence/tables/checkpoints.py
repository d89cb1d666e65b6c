"""Checkpoints that users uploaded. (Checkpoints that a job made are its artifacts.)"""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, MaybeJson, Moment
from persistence.tables.lease import Leased


class Checkpoint(Leased, Base):
    """Weights for a named architecture. Once ready, `content_sha256` names the safetensors form of them.

    `classes` names its outputs in order, as its file or its owner does; null where neither does.
    `report` holds the key match: `{"missing": […], "unexpected": […], "misshapen": […]}`.
    """

    __tablename__ = "checkpoints"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default="validating", server_default="validating")
    architecture: Mapped[str] = mapped_column(String(100))
    num_classes: Mapped[int] = mapped_column(Integer)
    classes: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    source_sha256: Mapped[str] = mapped_column(ForeignKey("objects.sha256"), index=True)
    source_filename: Mapped[str] = mapped_column(String(255))
    content_sha256: Mapped[str | None] = mapped_column(ForeignKey("objects.sha256"), index=True)
    content_size: Mapped[int | None] = mapped_column(BigInteger)
    report: Mapped[MaybeJson | None]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        CheckConstraint("status in ('validating', 'ready', 'invalid')", name="status_known"),
        Index("ix_checkpoints_tenant_id_id", "tenant_id", "id"),
        Index("ix_checkpoints_validating", "created_at", postgresql_where=text("status = 'validating'")),
    )
