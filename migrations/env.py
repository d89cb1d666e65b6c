"""Alembic's entry: runs the migrations on the connection that `migrations.runner` opened."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from persistence.tables import Base

connection: Connection = context.config.attributes["connection"]

context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
