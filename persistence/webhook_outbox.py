"""From the event log to the webhooks, at least once.

`jobs.webhook_seq` is how far a job's log was passed on. It moves in the transaction that writes the messages, and the
log's numbers have no gaps, so no event is missed; a message is unique for its event, so none is written twice. Sending
is apart from that: a message whose sender died is sent again, under the same id.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from persistence.tables import Event, Job, Webhook, WebhookDelivery

_log = structlog.get_logger(__name__)

RETRY_AFTER: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
)
"""Waits between two tries (Standard Webhooks' example schedule); after the last one a message has failed."""
LOG_LIFE: Final = timedelta(days=30)
_JITTER: Final = 0.1
_JOBS_A_TIME: Final = 20
_EVENTS_A_TIME: Final = 50
_SENDING_SECONDS: Final = 60
_PER_WEBHOOK: Final = 4


@dataclass(frozen=True, slots=True)
class Due:
    """A message to send now. `secrets`: the webhook's own and, after a rotation, the one before."""

    id: uuid.UUID
    webhook_id: uuid.UUID
    url: str
    payload: dict[str, Any]
    secrets: tuple[str, ...]
    attempt: int


def pass_on(session: Session, set_aside: set[uuid.UUID]) -> int:
    """Write messages for some of the events that were not passed on; returns how many jobs had some.

    Jobs that another process passes on, or that are being written to, wait for the next time. One whose messages
    cannot be written is added to `set_aside` and holds up no other; the jobs in there are left alone.
    """
    found = session.scalars(
        select(Job.id)
        .where(Job.event_seq > Job.webhook_seq, Job.id.not_in(set_aside))
        .limit(_JOBS_A_TIME)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    for job_id in found:
        try:
            with session.begin_nested():
                _pass_some_on(session, job_id)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            _log.warning("webhooks_of_job_postponed", job=str(job_id), error=str(error.orig))
            set_aside.add(job_id)
    return len(found)


def pass_on_job(session: Session, job_id: uuid.UUID) -> None:
    """Write messages for all of one job's events that were not passed on; before the job is deleted, for example."""
    while _pass_some_on(session, job_id):
        pass


def _pass_some_on(session: Session, job_id: uuid.UUID) -> bool:
    """Pass on the next events of a job, a bounded number of them; returns whether there were any."""
    job = session.execute(
        select(Job.tenant_id, Job.event_seq, Job.webhook_seq).where(Job.id == job_id).with_for_update(key_share=True)
    ).one_or_none()
    if job is None or job.event_seq == job.webhook_seq:
        return False
    last = min(job.event_seq, job.webhook_seq + _EVENTS_A_TIME)
    webhooks = session.scalars(select(Webhook).where(Webhook.tenant_id == job.tenant_id, Webhook.enabled)).all()
    if webhooks:
        events = session.scalars(
            select(Event).where(Event.job_id == job_id, Event.seq > job.webhook_seq, Event.seq <= last)
        ).all()
        rows = [
            _message(webhook.id, event)
            for event in events
            for webhook in webhooks
            # Who asks to be told is not told of what was before.
            if event.type in webhook.events and event.created_at >= webhook.created_at
        ]
        if rows:
            # The rows are parameters of their own: one statement with all values could have more than PostgreSQL takes.
            statement = insert(WebhookDelivery).values(next_attempt_at=func.now()).on_conflict_do_nothing()
            session.execute(statement, rows)
    session.execute(
        update(Job).where(Job.id == job_id).values(webhook_seq=last),
        execution_options={"synchronize_session": False},
    )
    return True


def claim_due(session: Session, limit: int) -> list[Due]:
    """Take messages whose time has come; each counts as being sent for a minute, then as lost.

    A few of each webhook only, so that one with many does not keep others waiting.
    """
    place = func.row_number().over(partition_by=WebhookDelivery.webhook_id, order_by=WebhookDelivery.next_attempt_at)
    waiting = (
        select(WebhookDelivery.id, place.label("place"))
        .join(Webhook)
        .where(WebhookDelivery.status == "pending", WebhookDelivery.next_attempt_at <= func.now(), Webhook.enabled)
        .subquery()
    )
    taken = (
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.id.in_(select(waiting.c.id).where(waiting.c.place <= _PER_WEBHOOK)),
            WebhookDelivery.status == "pending",
            WebhookDelivery.next_attempt_at <= func.now(),
        )
        .order_by(WebhookDelivery.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claimed = session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(session.scalars(taken).all()))
        .values(attempts=WebhookDelivery.attempts + 1, next_attempt_at=func.now() + timedelta(seconds=_SENDING_SECONDS))
        .returning(WebhookDelivery.id, WebhookDelivery.webhook_id, WebhookDelivery.payload, WebhookDelivery.attempts),
        execution_options={"synchronize_session": False},
    ).all()
    now = session.scalars(select(func.now())).one()
    webhooks = {
        webhook.id: webhook
        for webhook in session.scalars(select(Webhook).where(Webhook.id.in_({row.webhook_id for row in claimed})))
    }
    return [
        Due(row.id, row.webhook_id, webhook.url, row.payload, _secrets(webhook, now), row.attempts)
        for row in claimed
        if (webhook := webhooks.get(row.webhook_id)) is not None
    ]


def delivered(session: Session, due: Due, response_status: int) -> None:
    """The message arrived."""
    _record(session, due, status="delivered", response_status=response_status, error=None, finished_at=func.now())


def not_delivered(session: Session, due: Due, error: str, response_status: int | None) -> None:
    """The message did not arrive: it is tried again later, or has failed after the last try."""
    outcome: dict[str, Any] = {"response_status": response_status, "error": error[:500]}
    if due.attempt <= len(RETRY_AFTER):
        wait = RETRY_AFTER[due.attempt - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
        _record(session, due, **outcome, next_attempt_at=func.now() + wait)
    else:
        _record(session, due, **outcome, status="failed", finished_at=func.now())


def disable(session: Session, due: Due, reason: str) -> None:
    """The receiver wants no more (410 Gone): the message failed, and the webhook is disabled."""
    _record(session, due, status="failed", response_status=410, error=reason, finished_at=func.now())
    session.execute(
        update(Webhook).where(Webhook.id == due.webhook_id).values(enabled=False, disabled_reason=reason),
        execution_options={"synchronize_session": False},
    )


def forget_old(session: Session) -> None:
    """Drop finished lines of the log that are older than `LOG_LIFE`."""
    session.execute(
        delete(WebhookDelivery).where(
            WebhookDelivery.status != "pending", WebhookDelivery.finished_at < func.now() - LOG_LIFE
        ),
        execution_options={"synchronize_session": False},
    )


def _message(webhook_id: uuid.UUID, event: Event) -> dict[str, Any]:
    return {
        "webhook_id": webhook_id,
        "job_id": event.job_id,
        "seq": event.seq,
        "type": event.type,
        "payload": {
            "type": event.type,
            "timestamp": event.created_at.isoformat(),
            "data": {**event.data, "job_id": str(event.job_id), "seq": event.seq, "attempt": event.attempt},
        },
    }


def _secrets(webhook: Webhook, now: datetime) -> tuple[str, ...]:
    previous, until = webhook.previous_secret, webhook.previous_secret_until
    kept: Sequence[str] = [previous] if previous is not None and until is not None and until > now else []
    return (webhook.secret, *kept)


def _record(session: Session, due: Due, **values: Any) -> None:
    # Only of the try that this is about: a sender that took too long must not undo what a later one found.
    session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.id == due.id,
            WebhookDelivery.attempts == due.attempt,
            WebhookDelivery.status == "pending",
        )
        .values(**values),
        execution_options={"synchronize_session": False},
    )
