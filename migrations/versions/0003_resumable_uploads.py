"""Let uploads be resumed, tenants have quotas, and data sets a report

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "incoming_uploads",
        sa.Column("id", sa.UUID(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expected_sha256", sa.String(length=64), nullable=True),
        sa.Column("tus_metadata", sa.Text(), nullable=True),
        sa.Column("multipart_id", sa.Text(), nullable=True),
        sa.Column("writer", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("received between 0 and size", name="ck_incoming_uploads_received_within_size"),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_incoming_uploads_tenant_id_tenants", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_incoming_uploads"),
    )
    op.create_index("ix_incoming_uploads_expires_at", "incoming_uploads", ["expires_at"])
    op.create_index("ix_incoming_uploads_tenant_id_id", "incoming_uploads", ["tenant_id", "id"])
    op.add_column("tenants", sa.Column("quota_bytes", sa.BigInteger(), nullable=True))
    op.add_column("tenants", sa.Column("quota_datasets", sa.Integer(), nullable=True))
    op.add_column("tenants", sa.Column("quota_jobs", sa.Integer(), nullable=True))
    op.add_column("datasets", sa.Column("report", postgresql.JSONB(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("datasets", "report")
    op.drop_column("tenants", "quota_jobs")
    op.drop_column("tenants", "quota_datasets")
    op.drop_column("tenants", "quota_bytes")
    op.drop_table("incoming_uploads")
