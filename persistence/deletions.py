"""Taking bytes away, so that a deletion that comes late can never hit bytes that somebody needs again.

A process may be suspended for any time between its decision and its deletion, and what a store is asked to delete it
may delete late. Meanwhile the same bytes may have come again, for objects are named by their hash. So:

1. Before bytes are deleted, a row says so: this hash, this generation. It is committed together with the removal of the
   object's row, or while no such row names this generation.
2. A new row of an object takes a generation above those of all such rows that are outstanding.
3. A row of this kind goes when its own deletion is known to be over. If that is never known, it stays for good.

Hence no deletion of a generation is under way, nor to come, while an object's row names it (ADR 0018).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from persistence.database import transaction
from persistence.errors import ObjectMissing
from persistence.store import ObjectInfo, ObjectStore
from persistence.tables import ObjectDeletion, StoredObject

_BATCH: Final = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deletion:
    """Bytes that may be deleted now, by whoever holds this."""

    id: uuid.UUID
    sha256: str
    generation: int


def begin(session: Session, sha256: str, generation: int) -> Deletion:
    """Say that these bytes are about to be deleted. The caller has the lock on the object's row, and removes it."""
    row = ObjectDeletion(sha256=sha256, generation=generation)
    session.add(row)
    session.flush()
    return Deletion(row.id, sha256, generation)


def carry_out(sessions: sessionmaker[Session], store: ObjectStore, deletion: Deletion) -> None:
    """Delete the bytes, once `begin` is committed. Whatever the store raises passes through; the row then stays."""
    store.delete(deletion.sha256, deletion.generation)
    with transaction(sessions) as session:
        session.execute(delete(ObjectDeletion).where(ObjectDeletion.id == deletion.id))


def outstanding(session: Session, sha256: str) -> set[int]:
    """The generations of an object that may still be deleted at any moment."""
    return set(session.scalars(select(ObjectDeletion.generation).where(ObjectDeletion.sha256 == sha256)))


def orphans(sessions: sessionmaker[Session], store: ObjectStore, *, grace: timedelta) -> Iterator[ObjectInfo]:
    """Bytes put longer ago than `grace` that no row names.

    A process died between putting and registering them, or between their object's removal and their deletion.
    """
    oldest = datetime.now(UTC) - grace
    for batch in _batches(info for info in store.list_all() if info.modified < oldest):
        with transaction(sessions) as session:
            rows = session.execute(
                select(StoredObject.sha256, StoredObject.generation).where(
                    StoredObject.sha256.in_([info.sha256 for info in batch])
                )
            )
            named = {(row.sha256, row.generation) for row in rows}
        yield from (info for info in batch if (info.sha256, info.generation) not in named)


def delete_orphan(sessions: sessionmaker[Session], store: ObjectStore, found: ObjectInfo, *, grace: timedelta) -> bool:
    """Delete bytes that still have no row and were not put again within `grace`; returns whether they were deleted."""
    if _put_within(store, found, grace):
        return False
    with transaction(sessions) as session:
        deletion = _begin_orphan(session, found)
    if deletion is None:
        return False
    carry_out(sessions, store, deletion)
    return True


def _begin_orphan(session: Session, found: ObjectInfo) -> Deletion | None:
    # For the time of the transaction the object gets a row, so that who registers it now waits and sees the deletion.
    made = session.scalar(
        insert(StoredObject)
        .values(sha256=found.sha256, size=found.size)
        .on_conflict_do_nothing(index_elements=[StoredObject.sha256])
        .returning(StoredObject.sha256)
    )
    if made is None:
        generation = session.scalar(
            select(StoredObject.generation).where(StoredObject.sha256 == found.sha256).with_for_update()
        )
        if generation is None or generation == found.generation:
            return None
        return begin(session, found.sha256, found.generation)
    session.execute(delete(StoredObject).where(StoredObject.sha256 == found.sha256))
    return begin(session, found.sha256, found.generation)


def _put_within(store: ObjectStore, found: ObjectInfo, grace: timedelta) -> bool:
    try:
        now = store.stat(found.sha256)
    except ObjectMissing:
        return False
    return now.generation == found.generation and now.modified > datetime.now(UTC) - grace


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
