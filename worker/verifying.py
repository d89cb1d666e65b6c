"""An upload that lies in S3, once its turn has come: put together, read once, copied to its name, complete.

It happens here and in no child process: the bytes are hashed, and nobody looks into them.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from persistence import objects, verifications
from persistence.database import transaction
from persistence.errors import Conflict, LeaseLost, ObjectMissing, StoreError, StoreUnavailable
from persistence.store import Stored, assembled
from persistence.store.assembled import Assembled
from persistence.store.multipart import MultipartArea
from persistence.tables import IncomingUpload
from persistence.verifications import Claim
from worker.context import Context
from worker.outcome import Failure
from worker.retry import StillAway, persist

_log = structlog.get_logger(__name__)


class _Stopped(Exception):
    """The worker shuts down."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """The bytes are in the store under this hash."""

    area: MultipartArea
    found: Assembled
    sha256: str


def verify(context: Context, claim: Claim) -> None:
    """One attempt at an upload that was claimed."""
    about = {"upload_id": str(claim.upload.id), "attempt": claim.upload.attempt, "request_id": claim.upload.request_id}
    with structlog.contextvars.bound_contextvars(**about):
        try:
            _attempt(context, claim)
        except LeaseLost:
            _log.warning("upload_not_verified", reason="the lease was lost, or the upload was deleted")
        except StillAway:
            _log.warning("upload_not_verified", reason="the database is away; the lease will expire")


def _attempt(context: Context, claim: Claim) -> None:
    """One attempt, and what its end means. Raises `LeaseLost`, `StillAway`."""
    with _kept(context, claim) as lease:
        try:
            end = _verify(context, claim, lease)
            if isinstance(end, Failure):
                _fail(context, claim, end)
            else:
                _finish(context, claim, end)
        except _Stopped:
            _hand_back(context, claim, Failure("worker_shutdown", "the worker was shut down", retryable=True))
            return
        except StoreUnavailable as error:
            # Nobody's fault but the store's: the sweeper has it tried again until the store is back.
            _hand_back(context, claim, Failure(error.code, str(error), retryable=True))
            return
    _discard(context, claim.upload)


def _verify(context: Context, claim: Claim, lease: _Lease) -> _Verified | Failure:
    upload, area = claim.upload, context.store.multipart
    if area is None:
        raise StoreUnavailable("this worker does not store in S3, where the upload is")
    try:
        if claim.parts and upload.multipart_id is not None:
            area.complete(upload.id, upload.multipart_id, claim.parts)
        found = assembled.find(area, upload.id)
        if found.size != upload.size:
            message = f"The upload was announced with {upload.size} bytes; {found.size} came."
            return Failure("checksum_mismatch", message)
        sha256 = assembled.hash_of(area, upload.id, found, lease.require)
        if upload.expected_sha256 not in (None, sha256):
            message = f"The upload was announced with sha256 {upload.expected_sha256}; its bytes have {sha256}."
            return Failure("checksum_mismatch", message)
        assembled.publish(area, upload.id, found, sha256, lease.require)
    except (Conflict, ObjectMissing) as error:
        return Failure("object_missing", f"S3 does not have the bytes any more: {error}")
    return _Verified(area, found, sha256)


def _finish(context: Context, claim: Claim, end: _Verified) -> None:
    upload, ttl = claim.upload, timedelta(hours=context.settings.upload_ttl_hours)

    def publish() -> None:
        assembled.publish(end.area, upload.id, end.found, end.sha256, lambda: None)

    def finish(session: Session) -> None:
        # It may have been released since it was published, if the database was away for long.
        objects.hold_here(session, context.store, Stored(end.sha256, end.found.size), publish)
        verifications.finish(session, upload.id, claim.token, end.sha256, end.found.size, ttl)

    persist(context.sessions, finish, give_up=context.stopping)
    _log.info("upload_verified", sha256=end.sha256, size=end.found.size)


def _fail(context: Context, claim: Claim, failure: Failure) -> None:
    error = failure.as_error()
    persist(
        context.sessions,
        lambda session: verifications.fail(session, claim.upload.id, claim.token, error),
        give_up=context.stopping,
    )
    _log.warning("upload_failed", error=error)


def _hand_back(context: Context, claim: Claim, failure: Failure) -> None:
    error = failure.as_error()
    persist(
        context.sessions,
        lambda session: verifications.hand_back(session, claim.upload.id, claim.token, error),
        give_up=context.stopping,
    )
    _log.warning("upload_handed_back", error=error)


def _discard(context: Context, upload: IncomingUpload) -> None:
    try:
        context.store.incoming.discard(upload.id, upload.multipart_id)
    except StoreError as error:
        _log.warning("upload_not_discarded", error=str(error))  # The sweeper does it later.


class _Lease:
    """Whether this attempt may go on."""

    def __init__(self, upload_id: uuid.UUID, stopping: threading.Event) -> None:
        self.lost = threading.Event()
        self._upload_id, self._stopping = upload_id, stopping

    def require(self) -> None:
        """To be called now and then. Raises `LeaseLost`, `_Stopped`."""
        if self._stopping.is_set():
            raise _Stopped
        if self.lost.is_set():
            raise LeaseLost("upload", self._upload_id)


@contextmanager
def _kept(context: Context, claim: Claim) -> Iterator[_Lease]:
    """Renews the lease while the context is open. A store that hangs is given up by itself, after its own time."""
    lease, over = _Lease(claim.upload.id, context.stopping), threading.Event()
    settings = context.settings

    def renew() -> None:
        while not over.wait(settings.heartbeat_seconds):
            try:
                with transaction(context.sessions) as session:
                    verifications.renew(session, claim.upload.id, claim.token, settings.lease_seconds)
            except LeaseLost:
                lease.lost.set()
                return
            except SQLAlchemyError as error:
                _log.warning("lease_not_renewed", error=type(error).__name__)

    thread = threading.Thread(target=renew, name=f"lease-{claim.upload.id}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        over.set()
        thread.join()
