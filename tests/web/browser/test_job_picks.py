"""Jobs picked to be compared: they stay picked while the list is filtered, and can be taken away again."""

from __future__ import annotations

import re
import uuid

from playwright.sync_api import Page, expect

from tests.web.browser.stack import Stack
from tests.web.browser.waiting import wait_for

HTMX_IS_THERE = "() => window.htmx && document.readyState === 'complete'"


def test_picked_jobs_are_compared_though_the_filters_leave_them_out(
    page: Page, stack: Stack, finished_job: uuid.UUID
) -> None:
    other = stack.twin(finished_job, name="Elsewhere in the list")
    page.goto(f"{stack.url}/jobs")
    wait_for(page, HTMX_IS_THERE)
    page.get_by_label("Compare The finished one").check()
    page.get_by_label("Name contains").fill("elsewhere")
    expect(page.locator("#job-rows tr")).to_have_count(1)
    chips = page.get_by_role("list", name="Picked jobs").get_by_role("listitem")
    expect(chips).to_have_count(1)
    expect(chips).to_contain_text("The finished one")
    expect(page.get_by_text("Pick one more")).to_be_visible()
    page.get_by_label("Compare Elsewhere in the list").check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page).to_have_url(re.compile(f"/compare\\?job={finished_job}&job={other}$"))
    # Back from there they still are picked, whether they are shown or not.
    page.goto(f"{stack.url}/jobs?name=finished")
    expect(page.get_by_label("Compare The finished one")).to_be_checked()
    expect(chips).to_have_count(2)


def test_a_picked_job_is_taken_away_by_its_box_or_beside_its_name(
    page: Page, stack: Stack, finished_job: uuid.UUID
) -> None:
    for number in range(3):
        stack.twin(finished_job, name=f"Pick of three {number}")
    page.goto(f"{stack.url}/jobs?name=of+three")
    wait_for(page, HTMX_IS_THERE)
    for number in (0, 1):
        page.get_by_label(f"Compare Pick of three {number}").check()
    third = page.get_by_label("Compare Pick of three 2")
    third.click()
    expect(page.get_by_text("Only 2 jobs can be compared")).to_be_visible()
    expect(third).not_to_be_checked()
    page.get_by_role("button", name="Take Pick of three 0").click()
    expect(page.get_by_label("Compare Pick of three 0", exact=True)).not_to_be_checked()
    expect(page.get_by_role("button", name="Take Pick of three 1")).to_be_focused()
    page.get_by_label("Compare Pick of three 1", exact=True).uncheck()
    expect(page.get_by_role("list", name="Picked jobs")).to_be_hidden()
    expect(page.get_by_text("Pick two jobs to compare them.")).to_be_visible()


def test_the_button_to_compare_is_in_sight_however_long_the_list_is(
    page: Page, stack: Stack, finished_job: uuid.UUID
) -> None:
    for number in range(12):
        stack.twin(finished_job, name=f"One of a dozen {number}")
    page.set_viewport_size({"width": 390, "height": 600})
    page.goto(f"{stack.url}/jobs")
    expect(page.get_by_role("button", name="Compare", exact=True)).to_be_in_viewport(ratio=1)
