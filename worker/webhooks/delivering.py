"""A round of deliveries: pass events on, send what is due, note what became of it. May run anywhere, any time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from persistence import webhook_outbox
from persistence.database import transaction
from persistence.webhook_outbox import Due
from persistence.webhook_targets import Network, parse_networks
from worker.context import Context
from worker.webhooks.sending import send

_log = structlog.get_logger(__name__)

_AT_ONCE: Final = 8
_ROUND_SECONDS: Final = 20.0
"""After this a round takes no more messages, so that slow receivers do not keep the thread from other work."""
_PASSING_ON_SECONDS: Final = 10.0
"""After this a round sends, so that a long log to pass on keeps no message waiting."""
_GONE: Final = 410
_running = threading.Lock()


def deliver(context: Context) -> None:
    """One round; nothing while this process has another one under way."""
    if not _running.acquire(blocking=False):
        return
    try:
        _deliver(context, parse_networks(context.settings.webhook_private_networks))
    except SQLAlchemyError as error:
        _log.warning("webhooks_postponed", error=str(error))
    finally:
        _running.release()


def _deliver(context: Context, allowed: Sequence[Network]) -> None:
    try:
        _pass_on(context)
    except SQLAlchemyError as error:
        # What was passed on before is sent all the same.
        _log.warning("webhooks_not_passed_on", error=str(error))
    until = time.monotonic() + _ROUND_SECONDS
    while time.monotonic() < until and not context.stopping.is_set():
        with transaction(context.sessions) as session:
            due = webhook_outbox.claim_due(session, _AT_ONCE)
        if not due:
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(due)), thread_name_prefix="webhook") as pool:
            for _ in pool.map(lambda message: _send(context, message, allowed), due):
                pass


def _pass_on(context: Context) -> None:
    until = time.monotonic() + _PASSING_ON_SECONDS
    set_aside: set[uuid.UUID] = set()
    while time.monotonic() < until and not context.stopping.is_set():
        with transaction(context.sessions) as session:
            if webhook_outbox.pass_on(session, set_aside) == 0:
                return


def _send(context: Context, due: Due, allowed: Sequence[Network]) -> None:
    answer = send(due.url, due.id, due.payload, due.secrets, allowed=allowed)
    with transaction(context.sessions) as session:
        if answer.error is None and answer.status is not None:
            webhook_outbox.delivered(session, due, answer.status)
        elif answer.status == _GONE:
            webhook_outbox.disable(session, due, "The receiver answered 410 Gone.")
        else:
            webhook_outbox.not_delivered(session, due, answer.error or "", answer.status)
    _log.info(
        "webhook_sent",
        webhook=str(due.webhook_id),
        message=str(due.id),
        attempt=due.attempt,
        status=answer.status,
        error=answer.error,
    )
