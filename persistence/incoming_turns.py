"""Whose turn it is to add to an unfinished upload, and how far it is.

The newest request wins. It takes the place of the `writer`, who becomes the `predecessor`: that one sees it within a
second, keeps what has arrived, and lets go. Then, or when that takes too long, the newest one starts, and from that
moment on nothing of the predecessor is recorded any more, whatever it may still send to the store.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from persistence import incoming_uploads
from persistence.errors import Conflict, UploadFailed, UploadSuperseded
from persistence.store.incoming import Kept
from persistence.tables import IncomingPart, IncomingUpload, Upload


def require_receiving(incoming: IncomingUpload) -> IncomingUpload:
    """The upload itself, if bytes may be added. Raises `Conflict` (upload_verifying), `UploadFailed`."""
    if incoming.status == "verifying":
        raise verifying(incoming)
    if incoming.status == "failed":
        raise failure(incoming)
    return incoming


def verifying(incoming: IncomingUpload) -> Conflict:
    """What to say of an upload that a worker still reads."""
    message = f"every byte of upload {incoming.id} is here and is being verified: ask again until it is complete"
    return Conflict("upload_verifying", message)


def failure(incoming: IncomingUpload) -> UploadFailed:
    """What to say of an upload that failed."""
    error = incoming.error or {}
    return UploadFailed(incoming.id, str(error.get("code", "")), str(error.get("message", "")))


def take(session: Session, tenant_id: uuid.UUID, upload_id: uuid.UUID) -> uuid.UUID:
    """Tell whoever adds to the upload to stop; returns the token of the one who goes on.

    The one before is most often a connection that is long broken, without our knowing. Raises `NotFound`,
    `UploadExpired`, `UploadFailed`, `Conflict` (upload_verifying).
    """
    token = uuid.uuid4()
    require_receiving(incoming_uploads.get(session, tenant_id, upload_id))
    session.execute(
        update(IncomingUpload)
        .where(IncomingUpload.id == upload_id)
        .values(writer=token, predecessor=func.coalesce(IncomingUpload.predecessor, IncomingUpload.writer)),
        execution_options={"synchronize_session": False},
    )
    return token


def check(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> None:
    """Raises `UploadSuperseded` unless the token still is the newest."""
    if session.scalar(select(IncomingUpload.id).where(_newest(upload_id, token))) is None:
        raise UploadSuperseded(upload_id)


def vacated(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> bool:
    """Whether the one before has let go. Raises `UploadSuperseded`."""
    free = session.scalar(select(IncomingUpload.predecessor.is_(None)).where(_newest(upload_id, token)))
    if free is None:
        raise UploadSuperseded(upload_id)
    return free


def start(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> IncomingUpload:
    """It is this token's turn alone; returns the upload as it stands. Raises `UploadSuperseded`."""
    incoming = session.scalars(
        update(IncomingUpload).where(_newest(upload_id, token)).values(predecessor=None).returning(IncomingUpload),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if incoming is None:
        raise UploadSuperseded(upload_id)
    return incoming


def next_part(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> int:
    """A part number that nobody else gets, so that no two requests send S3 the same part. Raises `UploadSuperseded`."""
    number: int | None = session.scalar(
        update(IncomingUpload)
        .where(_held(upload_id, token))
        .values(last_part=IncomingUpload.last_part + 1)
        .returning(IncomingUpload.last_part),
        execution_options={"synchronize_session": False},
    )
    if number is None:
        raise UploadSuperseded(upload_id)
    return number


def advance(
    session: Session, upload_id: uuid.UUID, token: uuid.UUID, before: int, kept: Kept, ttl: timedelta
) -> IncomingUpload:
    """What was kept is recorded, behind the first `before` bytes; the upload lives on from here for `ttl`.

    Raises `UploadSuperseded`, and then nothing is recorded, when the turn is over or somebody else has gone on.
    """
    incoming = session.scalars(
        update(IncomingUpload)
        .where(_held(upload_id, token), IncomingUpload.received == before)
        .values(
            received=kept.offset,
            tail=None if kept.tail is None else kept.tail.name,
            tail_size=0 if kept.tail is None else kept.tail.size,
            expires_at=func.now() + ttl,
        )
        .returning(IncomingUpload),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if incoming is None:
        raise UploadSuperseded(upload_id)
    if kept.parts:
        rows = [
            {"upload_id": upload_id, "number": part.number, "etag": part.etag, "size": part.size} for part in kept.parts
        ]
        session.execute(insert(IncomingPart), rows)
    return incoming


def release(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> None:
    """This request adds no more, whether or not somebody has taken its turn."""
    session.execute(
        update(IncomingUpload)
        .where(_held(upload_id, token))
        .values(writer=_without(IncomingUpload.writer, token), predecessor=_without(IncomingUpload.predecessor, token)),
        execution_options={"synchronize_session": False},
    )


def end(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> bool:
    """Forget an upload that came to nothing, unless the turn is over; its bytes are the caller's to discard then."""
    ended = session.scalar(delete(IncomingUpload).where(_held(upload_id, token)).returning(IncomingUpload.id))
    return ended is not None


def complete(
    session: Session, upload_id: uuid.UUID, token: uuid.UUID, sha256: str, size: int, ttl: timedelta
) -> Upload:
    """Every byte is there and the object is in the store: the upload of the same id.

    Raises `UploadSuperseded` when the turn is over or the upload has ended otherwise.
    """
    incoming = session.scalars(
        select(IncomingUpload).where(_held(upload_id, token)).with_for_update(),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if incoming is None:
        raise UploadSuperseded(upload_id)
    return incoming_uploads.become(session, incoming, sha256, size, ttl)


def _newest(upload_id: uuid.UUID, token: uuid.UUID) -> ColumnElement[bool]:
    return and_(IncomingUpload.id == upload_id, IncomingUpload.writer == token, IncomingUpload.status == "receiving")


def _held(upload_id: uuid.UUID, token: uuid.UUID) -> ColumnElement[bool]:
    """Also while the next one waits for this one to let go."""
    return and_(
        IncomingUpload.id == upload_id,
        or_(IncomingUpload.writer == token, IncomingUpload.predecessor == token),
        IncomingUpload.status == "receiving",
    )


def _without(column: InstrumentedAttribute[uuid.UUID | None], token: uuid.UUID) -> ColumnElement[uuid.UUID | None]:
    return case((column == token, None), else_=column)
