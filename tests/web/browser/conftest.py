"""One service, one browser and one finished job for all browser tests; a fresh, watched page for each."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from cli.embedded import EmbeddedPostgres, EmbeddedRedis
from masktune_core.makers.biased_mnist import make_biased_mnist
from tests.fixtures.database import database_copy
from tests.web.browser.chromium import MISSING, find
from tests.web.browser.stack import Stack, running

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
"""Kept for people and CI to look at."""


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some real digits with a shortcut: as few as a small network learns it from, and can be cured of."""
    return make_biased_mnist(
        tmp_path_factory.mktemp("raw") / "digits.zip", conflicting=0.005, train=1200, val=100, test=100
    )


@pytest.fixture(scope="package")
def stack(
    postgres: EmbeddedPostgres,
    template_database: str,
    redis_server: EmbeddedRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    with database_copy(postgres, template_database) as database_url:
        with running(database_url, redis_server.url, tmp_path_factory.mktemp("stack")) as stack:
            yield stack


@pytest.fixture(scope="package")
def dataset_id(stack: Stack, archive: Path) -> uuid.UUID:
    return stack.upload(archive, "Biased digits")


@pytest.fixture(scope="package")
def finished_job(stack: Stack, dataset_id: uuid.UUID) -> uuid.UUID:
    """A job that ran for real, in some seconds of training: enough to fall for the shortcut, and to be cured of it."""
    config = {"erm": {"epochs": 3, "batch_size": 16}, "finetune": {"epochs": 2}}
    job_id = stack.submit(dataset_id, name="The finished one", config=config)
    stack.wait(job_id)
    return job_id


@pytest.fixture
def running_job(stack: Stack, finished_job: uuid.UUID) -> Iterator[uuid.UUID]:
    """A job that runs, says the database; its events come from the test."""
    job_id = stack.under_way(finished_job, "Under way")
    yield job_id
    stack.set_status(job_id, "cancelled")
    stack.client.delete(f"/v1/jobs/{job_id}").raise_for_status()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    path = find()
    if path is None:
        pytest.fail(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        yield browser
        browser.close()


class Watched:
    """What a page did that no page should do."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack.url
        self.complaints: list[str] = []
        self.allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        """Expect complaints of this kind."""
        self.allowed.append(pattern)

    def watch(self, page: Page) -> None:
        page.on(
            "console",
            lambda message: self._complain(
                message.type in ("error", "warning"), f"{message.text} at {message.location.get('url')} of {page.url}"
            ),
        )
        page.on("pageerror", lambda error: self._complain(True, f"uncaught: {error}"))
        page.on("request", lambda request: self._complain(not self._is_ours(request.url), f"asked {request.url}"))

    def _is_ours(self, url: str) -> bool:
        return url.startswith((f"{self.url}/", "data:", "blob:", "file:"))

    def _complain(self, really: bool, text: str) -> None:
        if really and not any(re.search(pattern, text) for pattern in self.allowed):
            self.complaints.append(text)


@pytest.fixture
def watched(stack: Stack) -> Iterator[Watched]:
    """Fails the test for an error in the console, and for a request that leaves the server."""
    watched = Watched(stack)
    yield watched
    assert watched.complaints == []


@pytest.fixture
def open_context(chromium: Browser, watched: Watched) -> Iterator[Callable[..., BrowserContext]]:
    """Make browser contexts whose pages are watched; options as for `Browser.new_context`."""
    contexts: list[BrowserContext] = []

    def open_(**options: object) -> BrowserContext:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]  # as given
        context.set_default_timeout(15_000)
        context.on("page", watched.watch)
        contexts.append(context)
        return context

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="package")
def logged_in(stack: Stack, chromium: Browser) -> dict[str, object]:
    """Cookies of a browser that is logged in."""
    context = chromium.new_context()
    context.new_page().goto(stack.login_link())
    state = context.storage_state()
    context.close()
    return dict(state)


@pytest.fixture
def page(open_context: Callable[..., BrowserContext], logged_in: dict[str, object]) -> Page:
    """A page of somebody who is logged in."""
    return open_context(storage_state=logged_in).new_page()


@pytest.fixture
def nobodys_page(open_context: Callable[..., BrowserContext]) -> Page:
    """A page of nobody."""
    return open_context().new_page()
