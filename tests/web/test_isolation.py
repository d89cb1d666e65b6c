"""No page shows or changes what belongs to another tenant, and none is for anybody who is not logged in.

Made from the application's own routes: a new page is tested without anybody remembering. One that has a new kind of
name in its path fails here until `Belongings` knows how to make such a thing.
"""

from __future__ import annotations

import secrets
import uuid
from urllib.parse import quote

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api import cookies
from persistence import tenants
from persistence.database import transaction
from persistence.store import ObjectStore
from tests.api.seeds import Seeds
from tests.api.test_isolation import nothing_changes
from tests.fixtures.records import unique
from tests.web.conftest import csrf_of
from tests.web.routes import OPEN, PageRoute, page_routes

ROUTES = page_routes()
OF_A_TENANT = [route for route in ROUTES if route.parameters]
NAMED_IN_QUERIES = [
    "/jobs/new?dataset={dataset_id}",
    "/jobs/new?checkpoint={checkpoint_id}",
    "/jobs/new?clone={job_id}",
    "/compare?job={job_id}&job={job_id}",
    "/compare/samples?first={job_id}&second={job_id}",
]


class Belongings:
    """One of everything that an id in a path can name, all of one tenant."""

    def __init__(self, seeds: Seeds) -> None:
        self._seeds = seeds
        self.job = seeds.job(seeds.pictured_dataset())
        seeds.finish_pictured(self.job, seeds.claim(self.job))

    def value(self, name: str) -> uuid.UUID:
        """What to put in for `name`; made anew, as a page may delete it."""
        match name:
            case "job_id":
                return self.job
            case "dataset_id":
                return self._seeds.pictured_dataset()
            case "checkpoint_id":
                return self._seeds.stored_checkpoint(b"weights")
        raise AssertionError(f"a page has {name!r} in its path: teach this test to make one")

    def address(self, route: PageRoute) -> str:
        return route.address({name: self.value(name) for name in route.parameters})


@pytest.fixture
def foreign(sessions: sessionmaker[Session], store: ObjectStore) -> Belongings:
    """Of another tenant than the visitor's."""
    with transaction(sessions) as session:
        other = tenants.get_or_create(session, unique("tenant")).id
    return Belongings(Seeds(sessions, store, other))


def test_what_belongs_to_another_tenant_is_not_found_and_stays_as_it_is(
    visitor: TestClient, foreign: Belongings, sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    assert len(OF_A_TENANT) > 15
    form = {cookies.CSRF_FIELD: csrf_of(visitor)}
    for route in OF_A_TENANT:
        address = foreign.address(route)
        with nothing_changes(sessions, store, route):
            answer = visitor.request(route.method, address, data=form if route.changes else None)
        assert answer.status_code == 404, (str(route), answer.status_code)


def test_what_belongs_to_another_tenant_is_not_found_by_a_query_either(
    visitor: TestClient, foreign: Belongings, seeds: Seeds
) -> None:
    own = Belongings(seeds)
    names = ("job_id", "dataset_id", "checkpoint_id")
    for template in NAMED_IN_QUERIES:
        for belongings, status in ((foreign, 404), (own, 200)):
            answer = visitor.get(template.format(**{name: belongings.value(name) for name in names}))
            assert answer.status_code == status, (template, answer.status_code)


def test_the_owner_sees_what_the_stranger_did_not(visitor: TestClient, seeds: Seeds) -> None:
    """Else the tests above could pass because nothing was there."""
    own, form = Belongings(seeds), {cookies.CSRF_FIELD: csrf_of(visitor)}
    for route in OF_A_TENANT:
        address = own.address(route)
        if route.changes:
            status = visitor.post(address, data=form, follow_redirects=False).status_code
            # A finished job can be deleted; the other changes are told why they cannot be made.
            assert status == 303 if route.path.endswith("/delete") else status == 409, (str(route), status)
            if route.path.startswith("/jobs/") and route.path.endswith("/delete"):
                own = Belongings(seeds)
        else:
            assert visitor.get(address).status_code == 200, str(route)


@pytest.mark.parametrize("cookie", [False, True], ids=["never logged in", "not logged in any more"])
def test_without_a_session_every_page_leads_to_the_login(
    browser: TestClient, foreign: Belongings, sessions: sessionmaker[Session], store: ObjectStore, cookie: bool
) -> None:
    form = {}
    if cookie:
        browser.cookies.set(cookies.SESSION, secrets.token_urlsafe(32))
        form = {cookies.CSRF_FIELD: csrf_of(browser)}
    for route in (route for route in ROUTES if route.path not in OPEN):
        address = foreign.address(route)
        with nothing_changes(sessions, store, route):
            answer = browser.request(
                route.method, address, data=form if route.changes else None, follow_redirects=False
            )
        if route.changes and not cookie and answer.status_code == 403:
            continue  # a form without a token is looked at no further
        wanted = "/login" if route.changes or address == "/" else f"/login?next={quote(address, safe='')}"
        assert (answer.status_code, answer.headers.get("location")) == (303, wanted), str(route)


def test_every_page_that_changes_something_needs_the_pages_token_and_a_key_that_may(
    visitor: TestClient, seeds: Seeds, sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    own = Belongings(seeds)
    for route in (route for route in ROUTES if route.changes and route.path not in OPEN):
        address = own.address(route)
        for form in ({}, {cookies.CSRF_FIELD: "x" * 43}):
            with nothing_changes(sessions, store, route):
                assert visitor.post(address, data=form).status_code == 403, str(route)


def test_a_visitor_who_may_only_read_changes_nothing(
    read_visitor: TestClient, seeds: Seeds, sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    own, form = Belongings(seeds), {cookies.CSRF_FIELD: csrf_of(read_visitor)}
    for route in (route for route in ROUTES if route.changes and route.path not in {*OPEN, "/logout"}):
        address = own.address(route)
        with nothing_changes(sessions, store, route):
            assert read_visitor.post(address, data=form).status_code == 403, str(route)
