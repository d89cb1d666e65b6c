"""API keys over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.auth import Admin
from api.ids import KeyId
from api.keys.schemas import KeyCreate, KeyMade, KeyRead, KeyRotate
from api.pages import PageOf, PageQuery, page_of
from api.problems import responses
from api.transactions import Transaction
from persistence import api_keys
from persistence.tables import ApiKey

router = APIRouter(prefix="/v1/keys", tags=["keys"])

_LOCATION = {"headers": {"Location": {"description": "The key.", "schema": {"type": "string"}}}}


@router.post(
    "",
    status_code=201,
    summary="Make a key",
    responses={201: _LOCATION, **responses("malformed_json", "content_too_large", "unsupported_media_type")},
)
def create_key(session: Transaction, caller: Admin, body: KeyCreate, response: Response) -> KeyMade:
    """Make a key of your own tenant. The answer holds its secret, this one time; only its hash is kept."""
    key, secret = api_keys.create(session, caller.tenant_id, body.name, scope=body.scope, expires_at=body.expires_at)
    return _made(key, secret, response)


@router.get("", summary="List keys", responses=responses())
def list_keys(session: Transaction, caller: Admin, query: Annotated[PageQuery, Query()]) -> PageOf[KeyRead]:
    """The tenant's keys, newest first, revoked ones too; never their secrets."""
    page = api_keys.list_page(session, caller.tenant_id, after=query.after_id, limit=query.limit)
    return page_of(page, KeyRead.model_validate)


@router.get("/{key_id}", summary="Get a key", responses=responses("api_key_not_found"))
def get_key(session: Transaction, caller: Admin, key_id: KeyId) -> KeyRead:
    """One key, and when it was last used."""
    return KeyRead.model_validate(api_keys.get(session, caller.tenant_id, key_id))


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Rotate a key",
    responses={
        201: _LOCATION,
        **responses(
            "malformed_json",
            "api_key_not_found",
            "api_key_inactive",
            "api_key_replaced",
            "content_too_large",
            "unsupported_media_type",
        ),
    },
)
def rotate_key(session: Transaction, caller: Admin, key_id: KeyId, body: KeyRotate, response: Response) -> KeyMade:
    """Make a successor with the same name and scope. The old key works for the grace period, so that nothing stops.

    A key that ends gets a successor that lives as long as it was to live. A key can be rotated once.
    """
    grace = timedelta(seconds=body.grace_seconds)
    key, secret = api_keys.rotate(session, key_id, grace, tenant_id=caller.tenant_id)
    return _made(key, secret, response)


@router.delete("/{key_id}", status_code=204, summary="Revoke a key", responses=responses("api_key_not_found"))
def revoke_key(session: Transaction, caller: Admin, key_id: KeyId) -> None:
    """Refuse a key from now on, and end the browser sessions that it opened. It stays in the list."""
    api_keys.revoke(session, key_id, tenant_id=caller.tenant_id)


def _made(key: ApiKey, secret: str, response: Response) -> KeyMade:
    response.headers["Location"] = f"/v1/keys/{key.id}"
    response.headers["Cache-Control"] = "no-store"
    return KeyMade(**KeyRead.model_validate(key).model_dump(), key=secret)
