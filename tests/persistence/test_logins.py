"""Browser sessions, login links and the throttling of logins."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from persistence import api_keys, browser_sessions, login_attempts, login_links
from persistence.tables import BrowserSession, LoginAttempts, LoginLink
from tests.fixtures.records import make_tenant, unique


def test_a_session_is_found_by_its_token_and_by_nothing_else(session: Session) -> None:
    tenant = make_tenant(session)
    opened, token = browser_sessions.create(session, tenant)
    found = browser_sessions.authenticate(session, token)
    assert found is not None
    assert (found.id, found.tenant_id) == (opened.id, tenant)
    assert browser_sessions.authenticate(session, token + "x") is None
    assert token.encode() not in opened.token_hash


def test_logging_out_ends_one_session_and_leaves_the_others(session: Session) -> None:
    tenant = make_tenant(session)
    first, token = browser_sessions.create(session, tenant)
    _, other = browser_sessions.create(session, tenant)
    browser_sessions.end(session, first.id)
    assert browser_sessions.authenticate(session, token) is None
    assert browser_sessions.authenticate(session, other) is not None
    browser_sessions.end_all(session, tenant)
    assert browser_sessions.authenticate(session, other) is None


def test_a_session_ends_with_the_key_that_opened_it(session: Session) -> None:
    tenant = make_tenant(session)
    key, _ = api_keys.create(session, tenant, "browser")
    _, token = browser_sessions.create(session, tenant, key.id)
    assert browser_sessions.authenticate(session, token) is not None
    api_keys.revoke(session, key.id)
    assert browser_sessions.authenticate(session, token) is None


def test_a_session_that_is_over_is_refused_and_swept_by_the_next_login(session: Session) -> None:
    tenant = make_tenant(session)
    old, token = browser_sessions.create(session, tenant)
    session.execute(update(BrowserSession).where(BrowserSession.id == old.id).values(expires_at=func.now()))
    assert browser_sessions.authenticate(session, token) is None
    browser_sessions.create(session, tenant)
    assert session.scalar(select(func.count()).where(BrowserSession.id == old.id)) == 0


def test_a_link_lets_in_once(session: Session) -> None:
    tenant = make_tenant(session)
    _, token = login_links.create(session, tenant)
    assert login_links.use(session, "another") is None
    assert login_links.use(session, token) == tenant
    assert login_links.use(session, token) is None


def test_a_link_that_is_over_lets_nobody_in(session: Session) -> None:
    link, token = login_links.create(session, make_tenant(session))
    session.execute(update(LoginLink).where(LoginLink.id == link.id).values(expires_at=func.now()))
    assert login_links.use(session, token) is None


def test_a_client_has_so_many_tries_a_minute(session: Session) -> None:
    client, other = unique("client"), unique("client")
    assert [login_attempts.note(session, client) for _ in range(login_attempts.MOST)] == [True] * login_attempts.MOST
    assert not login_attempts.note(session, client)
    assert login_attempts.note(session, other)
    session.execute(
        update(LoginAttempts).values(started_at=LoginAttempts.started_at - login_attempts.WINDOW - timedelta(seconds=1))
    )
    assert login_attempts.note(session, client)
    assert session.scalar(select(func.count()).where(LoginAttempts.client == other)) == 0


def test_getting_in_forgets_the_tries(session: Session) -> None:
    client = f"10.0.0.{uuid.uuid4().int % 250}"
    for _ in range(login_attempts.MOST):
        login_attempts.note(session, client)
    login_attempts.forget(session, client)
    assert login_attempts.note(session, client)
