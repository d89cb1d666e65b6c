"""Let jobs be paused and resumed, and tenants take turns

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BEFORE = "status in ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')"
_AFTER = "status in ('queued', 'running', 'pausing', 'paused', 'cancelling', 'succeeded', 'failed', 'cancelled')"
_LEASED_BEFORE = "status in ('running', 'cancelling')"
_LEASED_AFTER = "status in ('running', 'pausing', 'cancelling')"


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("tenants", sa.Column("quota_running", sa.Integer(), nullable=True))
    op.add_column("tenants", sa.Column("served_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("ran_seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("written", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("smaller_batches", sa.SmallInteger(), server_default="0", nullable=False))
    op.drop_constraint("ck_jobs_status_known", "jobs", type_="check")
    op.create_check_constraint("ck_jobs_status_known", "jobs", _AFTER)
    op.drop_index("ix_jobs_leased", table_name="jobs")
    op.create_index("ix_jobs_leased", "jobs", ["lease_expires_at"], postgresql_where=sa.text(_LEASED_AFTER))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Nothing in the older schema can be paused; what was goes on.
    op.execute("UPDATE jobs SET status = 'queued', dispatched_at = NULL WHERE status = 'paused'")
    op.execute("UPDATE jobs SET status = 'running' WHERE status = 'pausing'")
    op.drop_index("ix_jobs_leased", table_name="jobs")
    op.create_index("ix_jobs_leased", "jobs", ["lease_expires_at"], postgresql_where=sa.text(_LEASED_BEFORE))
    op.drop_constraint("ck_jobs_status_known", "jobs", type_="check")
    op.create_check_constraint("ck_jobs_status_known", "jobs", _BEFORE)
    for column in ("smaller_batches", "written", "ran_seconds", "claimed_at", "priority"):
        op.drop_column("jobs", column)
    op.drop_column("tenants", "served_at")
    op.drop_column("tenants", "quota_running")
