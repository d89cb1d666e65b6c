"""A job's page while the job goes on: whatever happened while nobody looked, and without losing the visitor's place."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from api.web.jobs.live_part import FRESH_SECONDS
from persistence import events
from persistence.database import transaction
from tests.web.browser.conftest import Watched
from tests.web.browser.stack import Stack

SEEN = """
(state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""
UNSEEN = 'Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true })'


def tell(stack: Stack, job_id: uuid.UUID, *told: tuple[str, Mapping[str, Any]]) -> None:
    """Events of the job, all at once."""
    with transaction(stack.sessions) as session:
        for type_, data in told:
            events.append(session, job_id, type_, data)


def warning(text: str) -> tuple[str, dict[str, str]]:
    return "job.warning", {"code": "test", "message": text}


def streams(page: Page) -> list[str]:
    """Addresses of the event streams that the page opens from now on."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url) if "/events?after=" in request.url else None)
    return found


def test_a_job_that_failed_and_was_resumed_while_nobody_looked_is_followed_on(
    page: Page, stack: Stack, running_job: uuid.UUID
) -> None:
    page.clock.install()
    opened = streams(page)
    page.goto(f"{stack.url}/jobs/{running_job}")
    log = page.locator("[data-log]")
    tell(stack, running_job, warning("before the lid was shut"))
    expect(log).to_contain_text("before the lid was shut")
    page.evaluate(SEEN, "hidden")
    page.clock.fast_forward(11_000)
    tell(
        stack,
        running_job,
        ("job.failed", {"error": {"code": "out_of_disk", "message": "the disk is full"}}),
        ("job.resume_requested", {"from": "failed"}),
        ("job.started", {"attempt": 2, "device": "cpu", "worker": "w"}),
    )
    page.evaluate(SEEN, "visible")
    expect(log).to_contain_text("Attempt 2 on cpu")
    page.wait_for_timeout(1_500)  # by then the page is done with what it heard of, and shows only what it still follows
    tell(stack, running_job, warning("after it went on"))
    expect(log).to_contain_text("after it went on")
    assert len(opened) == 2, "one stream before, and one after"


def test_pages_that_nobody_sees_leave_the_site_its_connections(
    open_context: Callable[..., BrowserContext], logged_in: dict[str, object], stack: Stack, running_job: uuid.UUID
) -> None:
    context = open_context(storage_state=logged_in)
    address = f"{stack.url}/jobs/{running_job}"
    for _ in range(6):
        unseen = context.new_page()
        unseen.add_init_script(UNSEEN)
        unseen.goto(address)
    # A browser opens six connections to a server of HTTP/1.1; with a stream in each, this page would wait for ever.
    seen = context.new_page()
    opened = streams(seen)
    seen.goto(address, timeout=5_000)
    tell(stack, running_job, warning("who sees it is told"))
    expect(seen.locator("[data-log]")).to_contain_text("who sees it is told")
    assert len(opened) == 1
    # One of the others is looked at: it catches up, and follows.
    unseen.evaluate(SEEN, "visible")
    expect(unseen.locator("[data-log]")).to_contain_text("who sees it is told")


def test_news_takes_away_neither_the_focus_nor_a_selection(page: Page, stack: Stack, running_job: uuid.UUID) -> None:
    tell(stack, running_job, *(warning(f"number {number}") for number in range(200)))
    page.goto(f"{stack.url}/jobs/{running_job}")
    whole = page.get_by_role("link", name="all of it")
    whole.focus()
    page.evaluate("""
        () => {
          const lines = document.querySelectorAll("[data-log] li");
          getSelection().selectAllChildren(lines[lines.length - 1]);
        }
    """)
    selected = page.evaluate("getSelection().toString()")
    assert "number 199" in selected
    tell(stack, running_job, warning("news"))
    expect(page.locator("[data-log] li").last).to_contain_text("news")
    expect(page.locator("[data-log] li")).to_have_count(200)
    expect(whole).to_be_focused()
    assert page.evaluate("getSelection().toString()") == selected


def test_the_log_stays_where_it_was_scrolled_to(page: Page, stack: Stack, running_job: uuid.UUID) -> None:
    tell(stack, running_job, *(warning(f"number {number}") for number in range(60)))
    page.goto(f"{stack.url}/jobs/{running_job}")
    log = page.locator("[data-log]")
    log.evaluate("(log) => { log.scrollTop = 100; }")
    tell(stack, running_job, warning("news"))
    expect(log.locator("li").last).to_contain_text("news")
    assert log.evaluate("(log) => log.scrollTop") == 100
    log.evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
    tell(stack, running_job, warning("more news"))
    expect(log.locator("li").last).to_contain_text("more news")
    assert log.evaluate("(log) => log.scrollHeight - log.scrollTop - log.clientHeight") < 2


def test_a_waiting_job_tells_its_place_in_the_queue_as_others_leave(
    page: Page, stack: Stack, dataset_id: uuid.UUID
) -> None:
    with stack.nobody_working():
        first, second = (stack.submit(dataset_id, name=f"Waits {number}") for number in range(2))
        page.clock.install()
        page.goto(f"{stack.url}/jobs/{second}")
        queue = page.locator("[data-now=queued]")
        expect(queue).to_contain_text("number 2 in the queue")
        stack.client.post(f"/v1/jobs/{first}/cancel").raise_for_status()
        page.wait_for_timeout(1000 * FRESH_SECONDS + 500)  # what was drawn before that is handed out no more
        page.clock.fast_forward(16_000)
        expect(queue).to_contain_text("number 1 in the queue")
        stack.client.post(f"/v1/jobs/{second}/cancel").raise_for_status()
        expect(page.locator(".badge").first).to_have_text("cancelled")


def test_a_job_that_was_deleted_is_no_longer_followed(
    page: Page, stack: Stack, running_job: uuid.UUID, watched: Watched
) -> None:
    watched.allow("status of 404")
    other = stack.twin(running_job, status="running", name="Deleted under the eyes")
    page.goto(f"{stack.url}/jobs/{other}")
    stack.set_status(other, "cancelled")
    stack.client.delete(f"/v1/jobs/{other}").raise_for_status()
    expect(page.get_by_role("heading", name="No such job")).to_be_visible()
