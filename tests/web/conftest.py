"""The pages in-process, and a browser's habits: cookies kept, redirects followed, HTML asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api import cookies
from api.main import create_app
from cli.embedded import EmbeddedPostgres
from persistence import api_keys, browser_sessions, login_links, tenants
from persistence.database import transaction
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.tables import LoginAttempts
from tests.api.conftest import make_key
from tests.api.seeds import Seeds
from tests.fixtures.database import database_copy
from tests.fixtures.records import unique

__all__ = ["make_key"]


@pytest.fixture(scope="package")
def page_database(postgres: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """One database for all tests of pages; each has a tenant of its own in it."""
    with database_copy(postgres, template_database) as url:
        yield url


@pytest.fixture
def database_url(page_database: str) -> str:
    return page_database


@pytest.fixture
def tenant() -> str:
    """The name of a tenant that nobody has seen before."""
    return unique("tenant")


@pytest.fixture
def key(make_key: Callable[[str], str], tenant: str) -> str:
    """An API key of the tenant."""
    return make_key(tenant)


@pytest.fixture
def seeds(sessions: sessionmaker[Session], store: ObjectStore, tenant: str) -> Seeds:
    """Rows of the tenant, made through persistence as a worker would."""
    with transaction(sessions) as session:
        return Seeds(sessions, store, tenants.get_or_create(session, tenant).id)


@pytest.fixture
def browser(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[TestClient]:
    """A browser that is not logged in, and has not tried to be."""
    with transaction(sessions) as session:
        session.execute(delete(LoginAttempts))
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
def visitor(browser: TestClient, make_link: Callable[[str], str], tenant: str) -> TestClient:
    """A browser that the tenant is logged in with."""
    answer = browser.get(make_link(tenant), follow_redirects=False)
    assert answer.status_code == 303
    return browser


@pytest.fixture
def read_visitor(browser: TestClient, sessions: sessionmaker[Session], tenant: str) -> TestClient:
    """A browser that somebody is logged in with whose key may only read."""
    with transaction(sessions) as session:
        key, _ = api_keys.create(session, tenants.get_or_create(session, tenant).id, "read", scope="read")
        _, token = browser_sessions.create(session, key.tenant_id, key.id)
    browser.cookies.set(cookies.SESSION, token)
    return browser


def csrf_of(browser: TestClient) -> str:
    """The token of the pages that this browser sees."""
    return cookies.csrf_token(browser.cookies[cookies.SESSION])
