"""The pages in-process, and a browser's habits: cookies kept, redirects followed, HTML asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api import cookies
from api.main import create_app
from persistence import login_links, tenants
from persistence.database import transaction
from persistence.settings import Settings
from tests.api.conftest import key, make_key, seeds

__all__ = ["key", "make_key", "seeds"]


@pytest.fixture
def browser(settings: Settings) -> Iterator[TestClient]:
    """A browser that is not logged in."""
    with TestClient(create_app(settings), headers={"Accept": "text/html,*/*"}) as client:
        yield client


@pytest.fixture
def make_link(sessions: sessionmaker[Session]) -> Callable[[str], str]:
    """A one-click address for the named tenant."""

    def make(tenant: str) -> str:
        with transaction(sessions) as session:
            _, token = login_links.create(session, tenants.get_or_create(session, tenant).id)
        return f"/login/link?token={token}"

    return make


@pytest.fixture
def visitor(browser: TestClient, make_link: Callable[[str], str]) -> TestClient:
    """A browser that tenant acme is logged in with."""
    answer = browser.get(make_link("acme"), follow_redirects=False)
    assert answer.status_code == 303
    return browser


def csrf_of(browser: TestClient) -> str:
    """The token of the pages that this browser sees."""
    return cookies.csrf_token(browser.cookies[cookies.SESSION])
