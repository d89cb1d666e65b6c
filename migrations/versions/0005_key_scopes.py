"""Give API keys a scope, an end and a successor

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Fail fast instead of queueing behind a long transaction and blocking everyone behind us.
    op.execute("SET LOCAL lock_timeout = '5s'")
    # Keys from before keep what they could do: everything but managing keys, which was not possible over HTTP.
    op.add_column("api_keys", sa.Column("scope", sa.String(length=10), server_default="write", nullable=False))
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("replaced_by", sa.Uuid(), nullable=True))
    op.create_check_constraint("ck_api_keys_scope_known", "api_keys", "scope in ('read', 'write', 'admin')")
    op.create_foreign_key(
        "fk_api_keys_replaced_by_api_keys", "api_keys", "api_keys", ["replaced_by"], ["id"], ondelete="SET NULL"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    # The older schema cannot say how little a key may do, nor when it ends: such keys must not come back to life.
    op.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE revoked_at IS NULL AND (scope = 'read' OR expires_at <= now())"
    )
    op.drop_constraint("fk_api_keys_replaced_by_api_keys", "api_keys", type_="foreignkey")
    op.drop_constraint("ck_api_keys_scope_known", "api_keys", type_="check")
    for column in ("replaced_by", "expires_at", "scope"):
        op.drop_column("api_keys", column)
