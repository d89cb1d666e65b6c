"""What sticks to an edge of the window leaves in sight what has the focus."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.web.browser.stack import Stack
from tests.web.browser.test_look import PHONE

COVERED = """() => {
  const focused = document.activeElement.getBoundingClientRect();
  if (focused.height > window.innerHeight / 2) return []; // the region of a whole list is never all in sight
  const over = [...document.querySelectorAll(".bar, .submit-bar, .picks")].filter((bar) => {
    const style = getComputedStyle(bar);
    return style.position === "sticky" && !bar.contains(document.activeElement);
  });
  return over.map((bar) => [bar, bar.getBoundingClientRect()])
    .filter(([, box]) => focused.bottom > box.top + 1 && focused.top < box.bottom - 1)
    .map(([bar]) => `${bar.className} over ${document.activeElement.outerHTML.slice(0, 80)}`);
}"""
IN_MAIN = "document.querySelector('main').contains(document.activeElement)"


@pytest.mark.parametrize("size", [PHONE, {"width": 1280, "height": 700}, {"width": 900, "height": 400}])
@pytest.mark.parametrize("place", ["jobs/new?preset=waterbirds", "jobs"])
@pytest.mark.usefixtures("finished_job")
def test_nothing_that_sticks_covers_what_has_the_focus(
    page: Page, stack: Stack, size: ViewportSize, place: str
) -> None:
    page.set_viewport_size(size)
    page.goto(f"{stack.url}/{place}")
    page.evaluate("document.querySelectorAll('details:not(.menu)').forEach((details) => { details.open = true; })")
    page.locator("main").focus()
    stops = 0
    for key in ("Tab", "Shift+Tab"):
        page.keyboard.press(key)
        while page.evaluate(IN_MAIN) and stops < 300:
            assert page.evaluate(COVERED) == [], f"{key}, stop {stops}"
            page.keyboard.press(key)
            stops += 1
    assert stops > 10
