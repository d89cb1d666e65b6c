"""Webhooks over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from api.auth import Admin
from api.errors import invalid
from api.ids import DeliveryId, WebhookId
from api.pages import PageOf, PageQuery, page_of
from api.problems import responses
from api.services import services_of
from api.transactions import Transaction
from api.webhooks.schemas import DeliveryQuery, DeliveryRead, WebhookChange, WebhookCreate, WebhookMade, WebhookRead
from persistence import webhooks
from persistence.tables import Webhook, WebhookDelivery
from persistence.webhook_targets import TargetRefused, check_url, parse_networks

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_BODY: Final = ("malformed_json", "content_too_large", "unsupported_media_type")
_LOCATION: Final = {"headers": {"Location": {"description": "The webhook.", "schema": {"type": "string"}}}}


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    responses={201: _LOCATION, **responses(*_BODY, "too_many_webhooks")},
)
def create_webhook(
    request: Request, session: Transaction, caller: Admin, body: WebhookCreate, response: Response
) -> WebhookMade:
    """Have jobs' events posted to an address of yours, signed as Standard Webhooks say.

    The answer holds the secret, this one time. A message that is not answered with 2xx within 10 seconds is tried again
    for about three days, at growing intervals. Each has a `webhook-id` that stays the same: a message may come twice,
    and out of order.
    """
    _require_public(request, body.url)
    made = webhooks.create(session, caller.tenant_id, url=body.url, events=body.events, description=body.description)
    response.headers["Location"] = f"/v1/webhooks/{made.id}"
    return _with_secret(made, response)


@router.get("", summary="List webhooks", responses=responses())
def list_webhooks(session: Transaction, caller: Admin, query: Annotated[PageQuery, Query()]) -> PageOf[WebhookRead]:
    """The tenant's webhooks, newest first."""
    page = webhooks.list_page(session, caller.tenant_id, after=query.after_id, limit=query.limit)
    return page_of(page, WebhookRead.model_validate)


@router.get("/{webhook_id}", summary="Get a webhook", responses=responses("webhook_not_found"))
def get_webhook(session: Transaction, caller: Admin, webhook_id: WebhookId) -> WebhookRead:
    """One webhook."""
    return WebhookRead.model_validate(webhooks.get(session, caller.tenant_id, webhook_id))


@router.patch("/{webhook_id}", summary="Change a webhook", responses=responses("webhook_not_found", *_BODY))
def change_webhook(
    request: Request, session: Transaction, caller: Admin, webhook_id: WebhookId, body: WebhookChange
) -> WebhookRead:
    """Change its address or its filter, or switch it off and on. What waited while it was off is sent then."""
    changes: dict[str, Any] = {name: value for name, value in body.model_dump().items() if value is not None}
    webhooks.get(session, caller.tenant_id, webhook_id)
    if body.url is not None:
        _require_public(request, body.url)
    return WebhookRead.model_validate(webhooks.change(session, caller.tenant_id, webhook_id, changes))


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook", responses=responses("webhook_not_found"))
def delete_webhook(session: Transaction, caller: Admin, webhook_id: WebhookId) -> None:
    """Forget a webhook and its log. What was not sent yet is never sent."""
    webhooks.delete(session, caller.tenant_id, webhook_id)


@router.post("/{webhook_id}/rotate-secret", summary="Rotate a secret", responses=responses("webhook_not_found"))
def rotate_webhook_secret(
    session: Transaction, caller: Admin, webhook_id: WebhookId, response: Response
) -> WebhookMade:
    """Make a new secret. For a day messages carry two signatures, of the new secret and of the one before."""
    return _with_secret(webhooks.rotate_secret(session, caller.tenant_id, webhook_id), response)


@router.post(
    "/{webhook_id}/test", status_code=202, summary="Send a test message", responses=responses("webhook_not_found")
)
def send_webhook_test(session: Transaction, caller: Admin, webhook_id: WebhookId) -> DeliveryRead:
    """Queue a message of type `webhook.test`; follow it in the log."""
    return _delivery(webhooks.send_test(session, caller.tenant_id, webhook_id))


@router.get("/{webhook_id}/deliveries", summary="List deliveries", responses=responses("webhook_not_found"))
def list_webhook_deliveries(
    session: Transaction, caller: Admin, webhook_id: WebhookId, query: Annotated[DeliveryQuery, Query()]
) -> PageOf[DeliveryRead]:
    """The log of a webhook, newest first. Lines are kept for 30 days after their end."""
    webhook = webhooks.get(session, caller.tenant_id, webhook_id)
    page = webhooks.deliveries_page(session, webhook, status=query.status, after=query.after_id, limit=query.limit)
    return page_of(page, _delivery)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/retry",
    status_code=202,
    summary="Send a message again",
    responses=responses("webhook_not_found", "delivery_not_found"),
)
def retry_webhook_delivery(
    session: Transaction, caller: Admin, webhook_id: WebhookId, delivery_id: DeliveryId
) -> DeliveryRead:
    """Send a message once more, under the same id, with all its tries before it."""
    webhook = webhooks.get(session, caller.tenant_id, webhook_id)
    return _delivery(webhooks.send_again(session, webhook, delivery_id))


def _require_public(request: Request, url: str) -> None:
    """Raises `ApiError` (422). Names are resolved when a message is sent, so this is a courtesy, not the guard."""
    try:
        check_url(url, parse_networks(services_of(request).settings.webhook_private_networks))
    except TargetRefused as error:
        problem = {"location": "body", "pointer": "/url", "code": "webhook_url", "detail": f"the URL {error}"}
        raise invalid("invalid_request", [problem]) from None


def _with_secret(webhook: Webhook, response: Response) -> WebhookMade:
    response.headers["Cache-Control"] = "no-store"
    return WebhookMade(**WebhookRead.model_validate(webhook).model_dump(), secret=webhook.secret)


def _delivery(delivery: WebhookDelivery) -> DeliveryRead:
    read = DeliveryRead.model_validate(delivery)
    return read if delivery.status == "pending" else read.model_copy(update={"next_attempt_at": None})
