"""What nobody needs any more, found or taken away: rows past their time, objects without a reference, leftovers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from persistence import deletions, jobs, objects, resume_points, uploads, webhook_outbox
from persistence.database import transaction
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.tables import StoredObject

ORPHAN_GRACE: Final = timedelta(days=1)
"""Bytes without a row are kept so long: they may belong to an upload or a job that is about to register them."""
_BATCH: Final = 1000
_ALL: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Graces:
    """How long something must have been useless before it goes."""

    unreferenced: timedelta
    orphaned: timedelta = ORPHAN_GRACE
    staged: timedelta = ORPHAN_GRACE


NO_GRACE: Final = Graces(timedelta(0), timedelta(0), timedelta(0))
"""For when nothing else runs."""


def graces_of(settings: Settings) -> Graces:
    """What the settings say."""
    return Graces(unreferenced=timedelta(hours=settings.retain_unreferenced_hours))


@dataclass(frozen=True, slots=True)
class Collected:
    """What went, or would go: rows, and objects with the bytes they take."""

    uploads: int
    jobs: int
    resume_points: int
    objects: int
    object_bytes: int
    orphans: int
    orphan_bytes: int
    staged: int


def forget_rows(session: Session, settings: Settings) -> tuple[int, int, int]:
    """Delete expired uploads, old lines of webhooks' logs, and jobs and resume points past their retention.

    Returns how many uploads, jobs and resume points went.
    """
    webhook_outbox.forget_old(session)
    points = resume_points.forget_finished(session, timedelta(hours=settings.retain_resume_hours))
    days = settings.retain_jobs_days
    gone = jobs.forget_finished(session, timedelta(days=days)) if days > 0 else 0
    return uploads.expire(session), gone, points


def collect(
    sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, graces: Graces | None = None
) -> Collected:
    """Take everything away that nobody needs; safe beside a running service."""
    graces = graces or graces_of(settings)
    with transaction(sessions) as session:
        expired, gone, points = forget_rows(session, settings)
    released, released_bytes = release_objects(sessions, store, graces.unreferenced)
    orphans, orphan_bytes = 0, 0
    for info in deletions.orphans(sessions, store, grace=graces.orphaned):
        if deletions.delete_orphan(sessions, store, info, grace=graces.orphaned):
            orphans, orphan_bytes = orphans + 1, orphan_bytes + info.size
    staged = store.sweep_staging(graces.staged)
    return Collected(expired, gone, points, released, released_bytes, orphans, orphan_bytes, staged)


def preview(
    sessions: sessionmaker[Session], store: ObjectStore, settings: Settings, graces: Graces | None = None
) -> Collected:
    """What `collect` would take away now, leftovers of dead writers not counted; changes nothing."""
    graces = graces or graces_of(settings)
    with sessions() as session:
        expired, gone, points = forget_rows(session, settings)
        objects.unmark(session)
        objects.mark(session, limit=_ALL)
        found = objects.unreferenced(session, graces.unreferenced, limit=_ALL)
        size = _bytes(session, found)
        session.rollback()
    orphans = list(deletions.orphans(sessions, store, grace=graces.orphaned))
    return Collected(
        expired, gone, points, len(found), size, len(orphans), sum(info.size for info in orphans), staged=0
    )


def release_objects(sessions: sessionmaker[Session], store: ObjectStore, grace: timedelta) -> tuple[int, int]:
    """Mark what lost its last reference, delete what lost it longer than `grace` ago; how many went, of how many bytes.

    No transaction is open while the store works: it may be slow, and the server ends a transaction that idles.
    """
    with transaction(sessions) as session:
        objects.unmark(session)
    while True:
        with transaction(sessions) as session:
            if objects.mark(session, limit=_BATCH) < _BATCH:
                break
    count, size = 0, 0
    while True:
        with transaction(sessions) as session:
            found = objects.unreferenced(session, grace, limit=_BATCH)
            sizes = {sha256: _bytes(session, [sha256]) for sha256 in found}
        released = 0
        for sha256 in found:
            with transaction(sessions) as session:
                deletion = objects.release(session, sha256, grace=grace)
            if deletion is not None:
                deletions.carry_out(sessions, store, deletion)
                released, size = released + 1, size + sizes[sha256]
        count += released
        if released == 0 or len(found) < _BATCH:
            return count, size


def _bytes(session: Session, found: Sequence[str]) -> int:
    total = 0
    for start in range(0, len(found), _BATCH):
        batch = found[start : start + _BATCH]
        total += int(
            session.scalar(select(func.coalesce(func.sum(StoredObject.size), 0)).where(StoredObject.sha256.in_(batch)))
            or 0
        )
    return total
