"""What an intake child made, stored for its tenant, who may have room for it or not."""

from __future__ import annotations

import hashlib
import threading
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session, sessionmaker

from persistence import quotas
from persistence.errors import QuotaExceeded
from persistence.settings import Settings
from persistence.store import ObjectStore, Stored
from worker.retry import persist
from worker.storing import Storing


class Accept(Protocol):
    """Ends the validation as ready, with the stored file."""

    def __call__(self, session: Session, stored: Stored, /) -> None: ...


class Refuse(Protocol):
    """Ends the validation as invalid, without the file."""

    def __call__(self, session: Session, /, code: str, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Product:
    """A file to be kept, and what is written when it is, or when there is no room for it."""

    path: Path
    accept: Accept
    refuse: Refuse


def keep(
    product: Product, sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, tenant_id: uuid.UUID
) -> None:
    """Store the product and end the validation; or end it without, when the tenant has as much as it may have.

    The quota is asked before the store gets the bytes, and again with the row that refers to them: meanwhile the tenant
    may have filled it otherwise. Raises what the store raises, and `LeaseLost`.
    """

    error = persist(
        sessions,
        lambda session: _lacking(session, settings, tenant_id, product.path.stat().st_size),
        give_up=threading.Event(),
    )
    if error is not None:
        # Only now is it worth the reading: bytes that the tenant has already count once.
        sha256 = _hash(product.path)
        if not persist(sessions, lambda session: quotas.keeps(session, tenant_id, sha256), give_up=threading.Event()):
            refuse = partial(product.refuse, code=error.code, message=_told(error))
            persist(sessions, refuse, give_up=threading.Event())
            return
    storing = Storing(store, product.path)
    storing.put()

    def conclude(session: Session) -> None:
        stored = storing.register(session)
        more = 0 if quotas.keeps(session, tenant_id, stored.sha256) else stored.size
        try:
            with session.begin_nested():
                product.accept(session, stored)
                if more:
                    # Afterwards, for the tenant stays locked from then on, and rows by the million take a while.
                    quotas.require(session, settings, tenant_id, "bytes", more, made=True)
        except QuotaExceeded as error:
            product.refuse(session, error.code, _told(error))

    persist(sessions, conclude, give_up=threading.Event())


def _lacking(session: Session, settings: Settings, tenant_id: uuid.UUID, more: int) -> QuotaExceeded | None:
    try:
        quotas.require(session, settings, tenant_id, "bytes", more)
    except QuotaExceeded as error:
        return error
    return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(error: QuotaExceeded) -> str:
    return f"what the check made of it does not fit the quota: {error}. The upload stays: then ask for the same again"
