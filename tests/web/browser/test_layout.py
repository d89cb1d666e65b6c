"""Things that belong apart are apart, and there is width for words."""

from __future__ import annotations

import uuid

from playwright.sync_api import Locator, Page

from tests.web.browser.stack import Stack
from tests.web.browser.test_look import PHONE


def box(locator: Locator) -> dict[str, float]:
    found = locator.bounding_box()
    assert found is not None
    return dict(found)  # type: ignore[arg-type]  # a TypedDict of numbers


def test_on_a_phone_the_facts_of_a_job_are_clear_of_its_buttons(
    page: Page, stack: Stack, finished_job: uuid.UUID
) -> None:
    page.set_viewport_size(PHONE)
    page.goto(f"{stack.url}/jobs/{finished_job}")
    buttons, facts = box(page.locator(".head .buttons")), box(page.locator(".job-facts"))
    assert facts["y"] - (buttons["y"] + buttons["height"]) >= 8


def test_help_has_room_for_more_than_a_word_a_line(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/datasets")
    page.get_by_text("what an archive may leave open").click()
    assert box(page.locator("#split-seed-help"))["height"] < 50
