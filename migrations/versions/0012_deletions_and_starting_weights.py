"""Note which objects have no reference and which deletions may still come, and which jobs began with a checkpoint

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("objects", sa.Column("generation", sa.Integer(), server_default="0", nullable=False))
    op.add_column("objects", sa.Column("unreferenced_since", sa.DateTime(timezone=True), nullable=True))
    op.drop_index("ix_objects_created_at", table_name="objects")
    op.create_index(
        "ix_objects_unreferenced_since",
        "objects",
        ["unreferenced_since"],
        postgresql_where=sa.text("unreferenced_since is not null"),
    )
    op.create_table(
        "object_deletions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_object_deletions")),
    )
    op.create_index(op.f("ix_object_deletions_sha256"), "object_deletions", ["sha256"])
    op.add_column("jobs", sa.Column("starts_from_checkpoint", sa.Boolean(), server_default="false", nullable=False))
    # Of a checkpoint that is gone already nothing tells any more.
    op.execute("UPDATE jobs SET starts_from_checkpoint = true WHERE checkpoint_id IS NOT NULL")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("jobs", "starts_from_checkpoint")
    op.drop_table("object_deletions")
    op.drop_index("ix_objects_unreferenced_since", table_name="objects")
    op.create_index("ix_objects_created_at", "objects", ["created_at"])
    op.drop_column("objects", "unreferenced_since")
    op.drop_column("objects", "generation")
