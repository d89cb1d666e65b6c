"""Lists that change by themselves, and as they are filtered and scrolled: nothing is lost on the way."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.web.browser.conftest import Watched
from tests.web.browser.stack import Stack
from tests.web.browser.waiting import wait_for

Open = Callable[..., BrowserContext]
HTMX_IS_THERE = "() => window.htmx && document.readyState === 'complete'"


def test_a_row_that_asks_again_keeps_the_focus_until_its_job_has_ended(
    page: Page, stack: Stack, running_job: uuid.UUID
) -> None:
    page.clock.install()
    page.goto(f"{stack.url}/jobs?name=under")
    wait_for(page, HTMX_IS_THERE)
    link = page.get_by_role("link", name="Under way")
    link.focus()
    address = f"{stack.url}/jobs/{running_job}/row"
    with page.expect_response(address):
        page.clock.run_for(3_100)
    expect(link).to_be_focused()
    stack.set_status(running_job, "cancelled")
    with page.expect_response(address):
        page.clock.run_for(3_100)
    row = page.locator(f"#row-{running_job}")
    expect(row).to_contain_text("cancelled")
    expect(link).to_be_focused()
    assert row.get_attribute("hx-get") is None


def test_a_row_goes_on_asking_after_a_failure_and_complains_once(
    page: Page, stack: Stack, running_job: uuid.UUID, watched: Watched
) -> None:
    watched.allow("ERR_FAILED|htmx:")
    page.clock.install()
    page.goto(f"{stack.url}/jobs?name=under")
    wait_for(page, HTMX_IS_THERE)
    address = f"{stack.url}/jobs/{running_job}/row"
    page.route(address, lambda route: route.abort())
    for _ in range(2):
        with page.expect_event("requestfailed"):
            page.clock.run_for(3_100)
    expect(page.get_by_text("The server cannot be reached.")).to_have_count(1)
    page.unroute_all()
    stack.set_status(running_job, "failed")
    page.clock.run_for(3_100)
    expect(page.locator(f"#row-{running_job}")).to_contain_text("failed")


def test_a_row_goes_when_its_job_was_deleted(
    page: Page, stack: Stack, running_job: uuid.UUID, watched: Watched
) -> None:
    watched.allow("status of 404|Error Code 404")
    gone = stack.twin(running_job, status="running", name="Under the axe")
    page.clock.install()
    page.goto(f"{stack.url}/jobs?name=under")
    wait_for(page, HTMX_IS_THERE)
    expect(page.locator(f"#row-{gone}")).to_be_visible()
    stack.set_status(gone, "cancelled")
    stack.client.delete(f"/v1/jobs/{gone}").raise_for_status()
    page.clock.run_for(3_100)
    expect(page.locator(f"#row-{gone}")).to_have_count(0)
    expect(page.locator(f"#row-{running_job}")).to_be_visible()
    expect(page.locator(".toast")).to_have_count(0)


def test_filtering_is_told_to_those_who_do_not_see_it(page: Page, stack: Stack, running_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs")
    told = page.locator("#job-count")
    page.get_by_label("Name contains").fill("under w")
    expect(told).to_have_text("1 job.")
    page.get_by_label("Status").select_option("failed")
    expect(told).to_have_text("0 jobs.")
    expect(told).to_have_attribute("role", "status")


def test_filtering_the_images_of_a_data_set_is_told_too(page: Page, stack: Stack, dataset_id: uuid.UUID) -> None:
    page.goto(f"{stack.url}/datasets/{dataset_id}")
    told = page.locator("#tile-count")
    expect(told).to_have_text("More than 60 images.")
    page.get_by_role("combobox", name="Split").select_option("test:biased")
    page.get_by_role("combobox", name="Class").select_option("5-9")
    expect(told).to_have_text(re.compile(r"^\d\d images\.$"))
    assert page.locator("#tiles img").count() == int((told.text_content() or "").split()[0])


def test_a_list_that_broke_off_goes_on_with_a_click(
    page: Page, stack: Stack, dataset_id: uuid.UUID, watched: Watched
) -> None:
    watched.allow("ERR_FAILED|htmx:")
    failing = [True]

    def fail(route: Route) -> None:
        if failing[0]:
            route.abort()
        else:
            route.continue_()

    page.route(re.compile(r"/tiles\?.*after="), fail)
    page.goto(f"{stack.url}/datasets/{dataset_id}")
    wait_for(page, HTMX_IS_THERE)
    more = page.get_by_role("link", name="Show more images")
    with page.expect_event("requestfailed"):
        more.click()
    expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
    expect(page.locator("#tiles img")).to_have_count(60)
    failing[0] = False
    more.click()
    expect(page.locator("#tiles img").nth(60)).to_be_attached()


def test_a_list_goes_on_only_when_asked_and_the_focus_goes_on_with_it(
    page: Page, stack: Stack, dataset_id: uuid.UUID
) -> None:
    page.goto(f"{stack.url}/datasets/{dataset_id}")
    wait_for(page, HTMX_IS_THERE)
    images = page.locator("#tiles img")
    more = page.get_by_role("link", name="Show more images")
    expect(page.locator("#tiles .more")).to_contain_text("1,200 in all")
    more.scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(500)
    expect(images).to_have_count(60)
    more.press("Enter")
    expect(images).to_have_count(120)
    expect(page.locator("#tiles li").nth(60)).to_be_focused()
    # On goes Tab to what follows the images that are there: the button for more of them.
    page.keyboard.press("Tab")
    expect(more).to_be_focused()


def test_more_jobs_come_on_a_click_and_their_first_one_has_the_focus(
    page: Page, stack: Stack, finished_job: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.web.jobs.listing._PAGE", 2)
    made = [stack.twin(finished_job, name=f"Of a long list {number}") for number in range(3)]
    page.goto(f"{stack.url}/jobs?name=long+list")
    wait_for(page, HTMX_IS_THERE)
    more = page.get_by_role("link", name="Show more jobs")
    more.scroll_into_view_if_needed()
    more.press("Enter")
    expect(more).to_have_count(0)
    expect(page.locator("#job-rows tr")).to_have_count(len(made))
    expect(page.locator("#job-rows a.row").nth(2)).to_be_focused()


def test_the_jobs_on_a_data_set_are_reached_from_the_top_of_its_page(
    page: Page, stack: Stack, dataset_id: uuid.UUID, finished_job: uuid.UUID
) -> None:
    page.goto(f"{stack.url}/datasets/{dataset_id}")
    page.get_by_role("navigation", name="On this page").get_by_role("link", name="Jobs on it").click()
    heading = page.get_by_role("heading", name="Jobs on it")
    expect(heading).to_be_in_viewport()
    assert heading.evaluate("(jobs) => jobs.compareDocumentPosition(document.getElementById('tiles'))") == 4  # follows


@pytest.mark.parametrize("place", ["datasets", "compare"])
def test_without_script_a_list_goes_on_on_a_page_of_its_own(
    open_context: Open, logged_in: dict[str, object], stack: Stack, finished_job: uuid.UUID, place: str
) -> None:
    page = open_context(storage_state=logged_in, java_script_enabled=False).new_page()
    if place == "datasets":
        dataset = stack.client.get(f"/v1/jobs/{finished_job}").json()["dataset_id"]
        page.goto(f"{stack.url}/datasets/{dataset}")
        first = page.locator("#tiles img").first.get_attribute("src")
    else:
        page.goto(f"{stack.url}/compare?job={finished_job}&job={stack.twin(finished_job)}")
        page.get_by_role("link", name="Show them").click()
        first = page.locator(".pairs img").first.get_attribute("src")
    page.get_by_role("link", name="More images").click()
    images = page.locator("#tiles img, .pairs img")
    expect(images.first).to_be_attached()
    assert images.first.get_attribute("src") != first
    expect(page.get_by_role("navigation", name="Breadcrumb")).to_be_visible()
