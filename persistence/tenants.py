"""Tenants."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence.tables import Tenant


def get_or_create(session: Session, name: str) -> Tenant:
    """The tenant of that name, made if there is none; safe against another doing the same."""
    session.execute(insert(Tenant).values(name=name).on_conflict_do_nothing(index_elements=[Tenant.name]))
    return session.scalars(select(Tenant).where(Tenant.name == name)).one()
