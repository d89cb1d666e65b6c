"""Webhooks: where a tenant wants to be told, and what was told."""

from __future__ import annotations

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, Json, JsonList, Moment


class Webhook(Base):
    """An address of a tenant that is told of its jobs' events.

    The secret is kept as it is, since every message is signed with it. After a rotation messages are signed with the
    previous one as well, until `previous_secret_until`. `disabled_reason` is set where we disabled it ourselves.
    """

    __tablename__ = "webhooks"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(String(2000))
    description: Mapped[str] = mapped_column(String(200), default="", server_default="")
    events: Mapped[JsonList]
    secret: Mapped[str] = mapped_column(String(100))
    previous_secret: Mapped[str | None] = mapped_column(String(100))
    previous_secret_until: Mapped[Moment | None]
    enabled: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    disabled_reason: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[CreatedAt]


class WebhookDelivery(Base):
    """One message to one webhook; its id is the message's. `job_id` and `seq` name the event, and outlive the job.

    While it is pending, `next_attempt_at` says when it is sent next; while it is being sent, when it counts as lost.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[Id]
    webhook_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    job_id: Mapped[uuid.UUID | None]
    seq: Mapped[int | None]
    type: Mapped[str] = mapped_column(String(40))
    payload: Mapped[Json]
    status: Mapped[str] = mapped_column(String(10), default="pending", server_default="pending")
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    next_attempt_at: Mapped[Moment | None]
    response_status: Mapped[int | None] = mapped_column(SmallInteger)
    error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        CheckConstraint("status in ('pending', 'delivered', 'failed')", name="status_known"),
        UniqueConstraint("webhook_id", "job_id", "seq"),
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        Index("ix_webhook_deliveries_due", "next_attempt_at", postgresql_where=text("status = 'pending'")),
        Index("ix_webhook_deliveries_old", "finished_at", postgresql_where=text("status <> 'pending'")),
    )
