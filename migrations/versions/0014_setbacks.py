"""Put off what was handed back because something was away or short

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_LEASED = ("jobs", "datasets", "checkpoints", "incoming_uploads")


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in _LEASED:
        op.add_column(table, sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
        op.add_column(table, sa.Column("setbacks", sa.SmallInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in _LEASED:
        op.drop_column(table, "setbacks")
        op.drop_column(table, "not_before")
