"""Uploads live for a while."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from persistence import uploads
from persistence.errors import NotFound
from tests.fixtures.records import make_tenant, make_upload


def test_an_upload_can_be_found_until_it_expires(session: Session) -> None:
    tenant = make_tenant(session)
    fresh = make_upload(session, tenant)
    old = make_upload(session, tenant, ttl=timedelta(seconds=-1))
    assert uploads.get(session, tenant, fresh.id).filename == "images.zip"
    assert fresh.expires_at - fresh.created_at == timedelta(hours=1)
    with pytest.raises(NotFound):
        uploads.get(session, tenant, old.id)
    assert [upload.id for upload in uploads.list_page(session, tenant).rows] == [fresh.id]
    assert uploads.expire(session) == 1
    assert uploads.expire(session) == 0
    assert uploads.get(session, tenant, fresh.id).id == fresh.id


def test_pages_are_newest_first(session: Session) -> None:
    tenant = make_tenant(session)
    made = [make_upload(session, tenant).id for _ in range(3)]
    page = uploads.list_page(session, tenant, limit=2)
    assert ([row.id for row in page.rows], page.has_more) == ([made[2], made[1]], True)
    page = uploads.list_page(session, tenant, after=made[1], limit=2)
    assert ([row.id for row in page.rows], page.has_more) == ([made[0]], False)


def test_another_tenant_finds_nothing(session: Session) -> None:
    upload = make_upload(session, make_tenant(session))
    stranger = make_tenant(session)
    assert uploads.list_page(session, stranger).rows == []
    for action in (uploads.get, uploads.delete):
        with pytest.raises(NotFound):
            action(session, stranger, upload.id)
    uploads.delete(session, upload.tenant_id, upload.id)
    assert uploads.list_page(session, upload.tenant_id).rows == []
