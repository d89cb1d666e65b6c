"""A tenant's webhooks, and the log of what was sent to them."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from persistence.errors import Conflict, NotFound
from persistence.event_types import EventType
from persistence.pages import Page, cut
from persistence.tables import Tenant, Webhook, WebhookDelivery

EVENT_TYPES: Final[tuple[str, ...]] = get_args(EventType)
TEST: Final = "webhook.test"
MOST_A_TENANT: Final = 20
PREVIOUS_SECRET_LIFE: Final = timedelta(days=1)
_PREFIX: Final = "whsec_"


def create(
    session: Session, tenant_id: uuid.UUID, *, url: str, events: Sequence[str], description: str = ""
) -> Webhook:
    """A new webhook with a fresh secret. Raises `Conflict` (`too_many_webhooks`) beyond `MOST_A_TENANT`."""
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update())
    count = session.scalars(select(func.count()).select_from(Webhook).where(Webhook.tenant_id == tenant_id)).one()
    if count >= MOST_A_TENANT:
        raise Conflict("too_many_webhooks", f"a tenant has at most {MOST_A_TENANT} webhooks: delete one first")
    made = Webhook(
        tenant_id=tenant_id, url=url, events=sorted(set(events)), description=description, secret=_new_secret()
    )
    session.add(made)
    session.flush()
    session.refresh(made)
    return made


def get(session: Session, tenant_id: uuid.UUID, webhook_id: uuid.UUID, *, lock: bool = False) -> Webhook:
    """One webhook of a tenant. Raises `NotFound`."""
    statement = select(Webhook).where(Webhook.id == webhook_id, Webhook.tenant_id == tenant_id)
    found = session.scalars(statement.with_for_update() if lock else statement).one_or_none()
    if found is None:
        raise NotFound("webhook", webhook_id)
    return found


def list_page(
    session: Session, tenant_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int = 50
) -> Page[Webhook]:
    """Webhooks of a tenant, newest first."""
    statement = select(Webhook).where(Webhook.tenant_id == tenant_id)
    if after is not None:
        statement = statement.where(Webhook.id < after)
    rows = session.scalars(statement.order_by(Webhook.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda webhook: webhook.id)


def change(session: Session, tenant_id: uuid.UUID, webhook_id: uuid.UUID, changes: dict[str, Any]) -> Webhook:
    """Set `url`, `events`, `description` or `enabled`. Enabling it forgets why it was disabled."""
    webhook = get(session, tenant_id, webhook_id, lock=True)
    for name, value in changes.items():
        setattr(webhook, name, sorted(set(value)) if name == "events" else value)
    if changes.get("enabled"):
        webhook.disabled_reason = None
    session.flush()
    return webhook


def rotate_secret(session: Session, tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> Webhook:
    """A fresh secret; for `PREVIOUS_SECRET_LIFE` messages are signed with the one before as well."""
    webhook = get(session, tenant_id, webhook_id, lock=True)
    webhook.previous_secret = webhook.secret
    webhook.previous_secret_until = func.now() + PREVIOUS_SECRET_LIFE
    webhook.secret = _new_secret()
    session.flush()
    session.refresh(webhook)
    return webhook


def delete(session: Session, tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> None:
    """Forget a webhook and its log; what is not sent yet is never sent."""
    session.delete(get(session, tenant_id, webhook_id, lock=True))
    session.flush()


def send_test(session: Session, tenant_id: uuid.UUID, webhook_id: uuid.UUID) -> WebhookDelivery:
    """Queue a message of type `webhook.test`, whatever the webhook's filter."""
    webhook = get(session, tenant_id, webhook_id)
    now = session.scalars(select(func.now())).one()
    payload = {"type": TEST, "timestamp": now.isoformat(), "data": {"webhook_id": str(webhook.id)}}
    delivery = WebhookDelivery(webhook_id=webhook.id, type=TEST, payload=payload, next_attempt_at=now)
    session.add(delivery)
    session.flush()
    session.refresh(delivery)
    return delivery


def deliveries_page(
    session: Session, webhook: Webhook, *, status: str | None = None, after: uuid.UUID | None = None, limit: int = 50
) -> Page[WebhookDelivery]:
    """The webhook's log, newest first."""
    statement = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook.id)
    if status is not None:
        statement = statement.where(WebhookDelivery.status == status)
    if after is not None:
        statement = statement.where(WebhookDelivery.id < after)
    rows = session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda delivery: delivery.id)


def get_delivery(session: Session, webhook: Webhook, delivery_id: uuid.UUID, *, lock: bool = False) -> WebhookDelivery:
    """One line of the webhook's log. Raises `NotFound`."""
    statement = select(WebhookDelivery).where(
        WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook.id
    )
    found = session.scalars(
        statement.with_for_update() if lock else statement, execution_options={"populate_existing": True}
    ).one_or_none()
    if found is None:
        raise NotFound("delivery", delivery_id)
    return found


def send_again(session: Session, webhook: Webhook, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Send a message once more under the same id, with all its tries before it."""
    delivery = get_delivery(session, webhook, delivery_id, lock=True)
    delivery.status, delivery.attempts, delivery.next_attempt_at = "pending", 0, func.now()
    delivery.finished_at = delivery.error = delivery.response_status = None
    session.flush()
    session.refresh(delivery)
    return delivery


def _new_secret() -> str:
    """Standard Webhooks: `whsec_` and 24 to 64 random bytes in Base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
