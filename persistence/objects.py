"""Which objects the store should hold, and letting go of those that nothing refers to.

Putting and registering an object are two steps: bytes first, then, in one transaction, the object's row and the row
that refers to it. Between the two nothing marks the object as used, so one that was put or registered within the last
hour is never released: register within that time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from persistence.errors import ObjectMissing
from persistence.store import ObjectInfo, ObjectStore
from persistence.tables import Artifact, Checkpoint, Dataset, ResumePoint, StoredObject, Upload

GRACE: Final = timedelta(hours=1)
"""How long after its last put or registration an object is kept without a reference."""

_REFERENCES: Final[tuple[InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ...]] = (
    Upload.sha256,
    Dataset.source_sha256,
    Dataset.archive_sha256,
    Checkpoint.source_sha256,
    Checkpoint.content_sha256,
    Artifact.sha256,
    ResumePoint.sha256,
)


def register(session: Session, sha256: str, size: int) -> None:
    """Note that the store holds this object. Its row stays locked until the transaction ends, so that it cannot go
    before the row that refers to it is there."""
    session.execute(
        insert(StoredObject)
        .values(sha256=sha256, size=size)
        .on_conflict_do_update(index_elements=[StoredObject.sha256], set_={"created_at": func.clock_timestamp()})
    )


def unreferenced(session: Session, older_than: timedelta = GRACE, limit: int = 1000) -> Sequence[str]:
    """Objects last registered longer ago than that, to which no row refers; oldest first."""
    return session.scalars(
        select(StoredObject.sha256)
        .where(StoredObject.created_at < func.now() - older_than, _no_references())
        .order_by(StoredObject.created_at)
        .limit(limit)
    ).all()


def release(session: Session, store: ObjectStore, sha256: str, *, grace: timedelta = GRACE) -> bool:
    """Remove an object's row and bytes if nothing refers to it, and it was not put or registered within `grace`.

    The row is locked first: whoever registers the object at this moment waits, and then finds it gone or kept. Returns
    whether it was removed.
    """
    row = session.scalars(
        select(StoredObject)
        .where(StoredObject.sha256 == sha256, StoredObject.created_at < func.clock_timestamp() - grace)
        .with_for_update(skip_locked=True),
        execution_options={"populate_existing": True},
    ).one_or_none()
    # A reference that was committed while we took the lock is seen only by a statement that starts after it.
    if row is None or not session.scalar(select(_no_references()).where(StoredObject.sha256 == sha256)):
        return False
    if _put_within(store, sha256, grace):
        return False
    session.execute(delete(StoredObject).where(StoredObject.sha256 == sha256))
    store.delete(sha256)
    return True


def orphans(session: Session, store: ObjectStore, *, grace: timedelta = timedelta(days=1)) -> Iterator[ObjectInfo]:
    """Objects in the store that have no row, because a process died between putting and registering."""
    oldest = datetime.now(UTC) - grace
    for info in store.list_all():
        known = select(exists().where(StoredObject.sha256 == info.sha256))
        if info.modified < oldest and not session.scalar(known):
            yield info


def release_orphan(session: Session, store: ObjectStore, sha256: str, *, grace: timedelta) -> bool:
    """Remove bytes that have no row and were not put within `grace`; returns whether they were removed.

    For the time of the transaction they get a row, so that whoever registers them at this moment waits, and then finds
    them gone or kept.
    """
    made = session.scalar(
        insert(StoredObject)
        .values(sha256=sha256, size=0)
        .on_conflict_do_nothing(index_elements=[StoredObject.sha256])
        .returning(StoredObject.sha256)
    )
    if made is None:
        return False
    session.execute(delete(StoredObject).where(StoredObject.sha256 == sha256))
    if _put_within(store, sha256, grace):
        return False
    store.delete(sha256)
    return True


def _no_references() -> ColumnElement[bool]:
    return and_(*(~exists().where(column == StoredObject.sha256) for column in _REFERENCES))


def _put_within(store: ObjectStore, sha256: str, grace: timedelta) -> bool:
    try:
        return store.stat(sha256).modified > datetime.now(UTC) - grace
    except ObjectMissing:
        return False
