"""Jobs and everything that an attempt of one writes."""

from __future__ import annotations

import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, Json, JsonList, MaybeJson, Moment
from persistence.tables.lease import Leased


def _job_id() -> Mapped[uuid.UUID]:
    return mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)


class Job(Leased, Base):
    """One MaskTune run. Postgres is the truth about it; the broker only carries its id.

    `config` is the resolved `JobConfig`. `progress` is the latest snapshot `{"stage", "iteration", "epoch", "epochs",
    "step", "steps", "loss", "accuracy", "images_per_second"}`. `warnings` is a list of `{"code", "message"}`.
    `manifest` records seed, versions, device and hashes. `error` is `{"code", "message", "stage", "retryable"}`.
    `event_seq` is the number of the last event, `webhook_seq` of the last one that was passed on to webhooks.

    `priority` orders the jobs of one tenant, higher first. `claimed_at` is when the attempt under way began,
    `ran_seconds` how long all attempts before it ran. `written` is the number of the attempt's last write, so that one
    whose answer got lost is not made twice. `smaller_batches` counts retries with halved batches after the device ran
    out of memory. A finished job outlives its data set and checkpoint: their ids become null; an unfinished one has a
    data set, and its checkpoint if it `starts_from_checkpoint`.
    """

    __tablename__ = "jobs"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    dataset_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    checkpoint_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("checkpoints.id", ondelete="SET NULL"), index=True
    )
    starts_from_checkpoint: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    name: Mapped[str] = mapped_column(String(200))
    config: Mapped[Json]
    status: Mapped[str] = mapped_column(String(20), default="queued", server_default="queued")
    priority: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    stage: Mapped[str | None] = mapped_column(String(20))
    max_attempts: Mapped[int] = mapped_column(default=3, server_default="3")
    claimed_at: Mapped[Moment | None]
    ran_seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    written: Mapped[int] = mapped_column(default=0, server_default="0")
    smaller_batches: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    progress: Mapped[MaybeJson | None]
    warnings: Mapped[JsonList]
    manifest: Mapped[MaybeJson | None]
    event_seq: Mapped[int] = mapped_column(default=0, server_default="0")
    webhook_seq: Mapped[int] = mapped_column(default=0, server_default="0")
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        CheckConstraint(
            "status in ('queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled')",
            name="status_known",
        ),
        UniqueConstraint("tenant_id", "idempotency_key"),
        Index("ix_jobs_tenant_id_id", "tenant_id", "id"),
        Index("ix_jobs_tenant_id_status_id", "tenant_id", "status", "id"),
        Index("ix_jobs_queued", "created_at", postgresql_where=text("status = 'queued'")),
        Index("ix_jobs_to_pass_on", "id", postgresql_where=text("event_seq > webhook_seq")),
        Index(
            "ix_jobs_leased",
            "lease_expires_at",
            postgresql_where=text("status in ('running', 'pausing', 'cancelling')"),
        ),
    )


class Event(Base):
    """One line of a job's append-only log; `seq` counts from 1 without gaps."""

    __tablename__ = "events"

    job_id: Mapped[uuid.UUID] = _job_id()
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(40))
    attempt: Mapped[int] = mapped_column(Integer)
    data: Mapped[Json]
    created_at: Mapped[CreatedAt]


class StageTransition(Base):
    """When an attempt entered a stage; `iteration` counts rounds of masking and finetuning from 1, 0 before them."""

    __tablename__ = "stage_transitions"

    job_id: Mapped[uuid.UUID] = _job_id()
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    stage: Mapped[str] = mapped_column(String(20), primary_key=True)
    iteration: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    entered_at: Mapped[CreatedAt]


class Metric(Base):
    """One number: (stage, iteration, epoch, split, group, name) → value. Null where it is undefined (an empty group).

    `group` is the group's name, null for the whole split. `count` is the number of samples behind the value.
    """

    __tablename__ = "metrics"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    stage: Mapped[str] = mapped_column(String(20))
    iteration: Mapped[int] = mapped_column(Integer)
    epoch: Mapped[int] = mapped_column(Integer)
    split: Mapped[str] = mapped_column(String(100))
    group: Mapped[str | None] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(60))
    value: Mapped[float | None] = mapped_column(Double)
    count: Mapped[int | None] = mapped_column(Integer)

    __table_args__ = (
        UniqueConstraint(
            "job_id", "stage", "iteration", "epoch", "split", "group", "name", postgresql_nulls_not_distinct=True
        ),
    )


class Artifact(Base):
    """A file that a job made, for download. The newest attempt's file of a name replaces the one before."""

    __tablename__ = "artifacts"

    job_id: Mapped[uuid.UUID] = _job_id()
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("objects.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[CreatedAt]


class ResumePoint(Base):
    """Where an interrupted job goes on from; the newest two are kept."""

    __tablename__ = "resume_points"

    job_id: Mapped[uuid.UUID] = _job_id()
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sha256: Mapped[str] = mapped_column(ForeignKey("objects.sha256"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(Integer)
    stage: Mapped[str] = mapped_column(String(20))
    iteration: Mapped[int] = mapped_column(Integer)
    epoch: Mapped[int] = mapped_column(Integer)
    step: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[CreatedAt]
