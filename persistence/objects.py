"""Which objects the store should hold: registered by whoever refers to them, marked once nothing refers to them.

Bytes are put first, then the object's row is made (`hold`), then the row that refers to it (`refer`). Who comes to a
row that nothing refers to clears its mark, and so has the whole grace again.

An object's bytes lie under a generation, nearly always 0. How a deletion that comes late is kept from hitting bytes
that are needed again is in `deletions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from persistence import deletions
from persistence.database import transaction
from persistence.deletions import Deletion
from persistence.errors import ObjectMissing, StoreUnavailable
from persistence.store import ObjectStore, Stored
from persistence.tables import Artifact, Checkpoint, Dataset, ResumePoint, StoredObject, Upload

_REFERENCES: Final[tuple[InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ...]] = (
    Upload.sha256,
    Dataset.source_sha256,
    Dataset.archive_sha256,
    Checkpoint.source_sha256,
    Checkpoint.content_sha256,
    Artifact.sha256,
    ResumePoint.sha256,
)


def register(session: Session, sha256: str, size: int) -> int:
    """Note that the store holds this object; returns the generation that its bytes must lie under.

    Its row stays locked until the transaction ends, so that it cannot go before the row that refers to it is there.
    Whether the bytes do lie there is for the caller to see, as `hold` does.
    """
    generation = session.scalars(
        insert(StoredObject)
        .values(sha256=sha256, size=size)
        .on_conflict_do_update(
            index_elements=[StoredObject.sha256],
            set_={"created_at": func.clock_timestamp(), "unreferenced_since": None},
        )
        .returning(StoredObject.generation)
    ).one()
    # The row is ours: no deletion can begin now, and those that began before are seen.
    threatened = deletions.outstanding(session, sha256)
    if generation not in threatened:
        return generation
    generation = max(threatened) + 1
    session.execute(update(StoredObject).where(StoredObject.sha256 == sha256).values(generation=generation))
    return generation


@dataclass(frozen=True, slots=True)
class Held:
    """An object with a row of its own, and bytes where that row says. `refer` to it before it is released again."""

    sha256: str
    size: int
    generation: int


def hold(sessions: sessionmaker[Session], store: ObjectStore, stored: Stored) -> Held:
    """Register an object that was just put, in a transaction of its own, and see that its bytes lie where they must.

    The store is asked while no transaction is open: it may keep one waiting. Raises `StoreUnavailable` when the bytes
    were taken away at this very moment: put them again.
    """
    with transaction(sessions) as session:
        generation = register(session, stored.sha256, stored.size)
    _see_to(store, stored, generation, None)
    return Held(stored.sha256, stored.size, generation)


def refer(session: Session, held: Held) -> None:
    """Lock the row of a held object, in the transaction that makes the row which refers to it.

    Raises `StoreUnavailable` when it was released after all, since nobody had referred to it for so long.
    """
    found = session.scalar(
        update(StoredObject)
        .where(StoredObject.sha256 == held.sha256, StoredObject.generation == held.generation)
        .values(unreferenced_since=None)
        .returning(StoredObject.sha256)
    )
    if found is None:
        raise StoreUnavailable(f"object {held.sha256} was taken away before anything referred to it: send it again")


def hold_here(session: Session, store: ObjectStore, stored: Stored, put_again: Callable[[], object]) -> None:
    """The same in one transaction, for a worker, in whose way nobody is while a store keeps it waiting.

    Bytes that were taken away since they were put are put again.
    """
    _see_to(store, stored, register(session, stored.sha256, stored.size), put_again)


def _see_to(store: ObjectStore, stored: Stored, generation: int, put_again: Callable[[], object] | None) -> None:
    if store.exists(stored.sha256, generation):
        return
    try:
        store.promote(stored.sha256, generation)
    except ObjectMissing as error:
        if put_again is None:
            raise StoreUnavailable(
                f"an older copy of object {stored.sha256} was deleted just now, and this one with it: send it again"
            ) from error
        put_again()
        if generation:
            store.promote(stored.sha256, generation)


def mark(session: Session, limit: int = 1000) -> int:
    """Note of at most `limit` objects that nothing refers to them any more; returns how many were found.

    Rows that somebody has locked are left for the next time: they are about to be referred to.
    """
    candidates = session.scalars(
        select(StoredObject.sha256)
        .where(StoredObject.unreferenced_since.is_(None), _no_references())
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    # A reference that was committed while we took the locks is seen only by a statement that starts after it.
    marked = session.scalars(
        update(StoredObject)
        .where(StoredObject.sha256.in_(candidates), _no_references())
        .values(unreferenced_since=func.clock_timestamp())
        .returning(StoredObject.sha256),
        execution_options={"synchronize_session": False},
    )
    return len(marked.all())


def unmark(session: Session) -> None:
    """Clear the marks of objects that something refers to after all."""
    session.execute(
        update(StoredObject)
        .where(StoredObject.unreferenced_since.is_not(None), ~_no_references())
        .values(unreferenced_since=None),
        execution_options={"synchronize_session": False},
    )


def unreferenced(session: Session, older_than: timedelta, limit: int = 1000) -> Sequence[str]:
    """Objects that were found longer ago than that to have no reference, and have none; oldest first."""
    return session.scalars(
        select(StoredObject.sha256)
        .where(StoredObject.unreferenced_since <= func.clock_timestamp() - older_than, _no_references())
        .order_by(StoredObject.unreferenced_since)
        .limit(limit)
    ).all()


def release(session: Session, sha256: str, *, grace: timedelta) -> Deletion | None:
    """Forget an object that has had no reference for `grace`; None when it stays.

    Carry the deletion out once this transaction is committed.
    """
    generation = session.scalars(
        select(StoredObject.generation)
        .where(StoredObject.sha256 == sha256, StoredObject.unreferenced_since <= func.clock_timestamp() - grace)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    # As in `mark`: only now can every reference be seen.
    if generation is None or not session.scalar(select(_no_references()).where(StoredObject.sha256 == sha256)):
        return None
    session.execute(delete(StoredObject).where(StoredObject.sha256 == sha256))
    return deletions.begin(session, sha256, generation)


def _no_references() -> ColumnElement[bool]:
    return and_(*(~exists().where(column == StoredObject.sha256) for column in _REFERENCES))
