"""Let uploads be verified by a worker, and their bytes lie in S3 as they come

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_LEASED = ("attempt", "lease_token", "lease_expires_at", "worker", "dispatched_at", "error", "request_id")
_OWN = ("status", "direct", "last_part", "tail", "tail_size", "predecessor")


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    for column in (
        sa.Column("status", sa.String(length=20), server_default="receiving", nullable=False),
        sa.Column("direct", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("last_part", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tail", sa.String(length=32), nullable=True),
        sa.Column("tail_size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("predecessor", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
    ):
        op.add_column("incoming_uploads", column)
    op.execute("UPDATE incoming_uploads SET direct = true WHERE multipart_id IS NOT NULL")
    op.create_check_constraint(
        "ck_incoming_uploads_status_known", "incoming_uploads", "status in ('receiving', 'verifying', 'failed')"
    )
    op.create_index(
        "ix_incoming_uploads_verifying",
        "incoming_uploads",
        ["created_at"],
        postgresql_where=sa.text("status = 'verifying'"),
    )
    op.create_table(
        "incoming_parts",
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["incoming_uploads.id"],
            name="fk_incoming_parts_upload_id_incoming_uploads",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name="pk_incoming_parts"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Without these columns an upload cannot be gone on with, nor said to have failed.
    op.execute("DELETE FROM incoming_uploads WHERE status <> 'receiving' OR (multipart_id IS NOT NULL AND NOT direct)")
    op.drop_table("incoming_parts")
    op.drop_index("ix_incoming_uploads_verifying", table_name="incoming_uploads")
    op.drop_constraint("ck_incoming_uploads_status_known", "incoming_uploads", type_="check")
    for name in (*_LEASED, *_OWN):
        op.drop_column("incoming_uploads", name)
