"""Data sets and their images."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, String, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreatedAt, Id, JsonList, JsonObject, MaybeJson, Moment
from persistence.tables.lease import Leased


class Dataset(Leased, Base):
    """An uploaded archive and, once ready, the normalised zip made from it.

    `options` are the `IntakeOptions` it was asked for with, those left out included; empty from before there were any.
    `classes` is a list of names, label = position. `attributes` is a list of `{"name", "values"}`, one per attribute
    column. `summary` holds counts per split, class and group. `problems` holds intake findings
    `{"code", "where", "message", "severity"}`, at most 100; `problem_count` counts all. `report` is the preflight
    report of a ready data set; one that was checked before there were reports has none.
    """

    __tablename__ = "datasets"

    id: Mapped[Id]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default="validating", server_default="validating")
    source_sha256: Mapped[str] = mapped_column(ForeignKey("objects.sha256"), index=True)
    source_filename: Mapped[str] = mapped_column(String(255))
    options: Mapped[JsonObject]
    archive_sha256: Mapped[str | None] = mapped_column(ForeignKey("objects.sha256"), index=True)
    archive_size: Mapped[int | None] = mapped_column(BigInteger)
    layout: Mapped[str | None] = mapped_column(String(40))
    image_count: Mapped[int | None] = mapped_column(Integer)
    classes: Mapped[JsonList]
    attributes: Mapped[JsonList]
    summary: Mapped[MaybeJson | None]
    report: Mapped[MaybeJson | None]
    problems: Mapped[JsonList]
    problem_count: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Moment | None]

    __table_args__ = (
        CheckConstraint("status in ('validating', 'ready', 'invalid')", name="status_known"),
        Index("ix_datasets_tenant_id_id", "tenant_id", "id"),
        Index("ix_datasets_validating", "created_at", postgresql_where=text("status = 'validating'")),
    )


class DatasetImage(Base):
    """One image of a ready data set: a byte range of the normalised zip.

    `attributes` has one value index per attribute column of the data set; null where the value is unknown.
    """

    __tablename__ = "dataset_images"

    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str]
    split: Mapped[str] = mapped_column(String(100))
    label: Mapped[int] = mapped_column(Integer)
    attributes: Mapped[list[int | None]] = mapped_column(ARRAY(SmallInteger), server_default=text("'{}'"))
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    offset: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(Integer)
