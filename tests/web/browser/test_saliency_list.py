"""The list of images under bad addresses, bad connections, other sizes and the browser's own ways of going about."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.web.browser.conftest import Watched
from tests.web.browser.stack import Stack
from tests.web.browser.test_look import PHONE
from tests.web.browser.test_saliency import shown, total

Open = Callable[..., BrowserContext]
FIRST_IN_SIGHT = """
() => {
  const views = document.querySelector(".views");
  const edge = getComputedStyle(views).position === "sticky" ? views.getBoundingClientRect().bottom : 50;
  const cells = [...document.querySelectorAll(".cell")];
  const seen = cells.find((cell) => cell.getBoundingClientRect().top > edge - 10);
  return seen ? Number(seen.querySelector("button").dataset.index) : null;
}
"""
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture
def address(stack: Stack, finished_job: uuid.UUID) -> str:
    return f"{stack.url}/jobs/{finished_job}/samples"


def first_in_sight(page: Page) -> int:
    page.evaluate(TWO_FRAMES)
    found: int = page.evaluate(FIRST_IN_SIGHT)
    return found


def scroll_until_loaded(page: Page, count: int) -> None:
    """Until the list knows of so many images."""
    for _ in range(100):
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        page.evaluate(TWO_FRAMES)
        if page.evaluate("Math.max(...[...document.querySelectorAll('.cell')].map((c) => +c.dataset.number))") >= count:
            return
    raise AssertionError(f"image {count} never came")


@pytest.mark.parametrize(("query", "told"), [("label=abc", "valid integer"), ("sort=nonsense", "masked_fraction")])
def test_an_address_that_asks_for_nonsense_is_told_so_and_not_that_nothing_fits(
    page: Page, address: str, watched: Watched, query: str, told: str
) -> None:
    watched.allow("status of 422")
    page.goto(f"{address}?{query}")
    expect(page.locator("#sample-note")).to_contain_text("could not be fetched")
    expect(page.locator("#sample-note")).to_contain_text(told)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator("#sample-count")).to_have_text("")
    page.get_by_role("button", name="Clear").click()
    assert total(page) > 0
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


@pytest.mark.parametrize("view", ["constructor", '"]', "nosuch"])
def test_a_view_that_does_not_exist_is_the_usual_one(page: Page, address: str, view: str) -> None:
    page.goto(f"{address}?view={view}&split=train")
    expect(page.locator(".tile img").first).to_have_attribute("src", re.compile("view=original"))
    expect(page.locator("#sample-views input:checked")).to_have_value("original")
    expect(page).to_have_url(f"{address}?split=train")


def test_a_page_that_failed_is_asked_for_again_and_the_list_goes_on(page: Page, address: str, watched: Watched) -> None:
    watched.allow("ERR_FAILED")
    failing = [True]

    def fail(route: Route) -> None:
        if failing[0] and "after=" in route.request.url:
            route.abort()
        else:
            route.continue_()

    page.route(re.compile(r"/samples\?"), fail)
    page.goto(f"{address}?split=train&max=100")
    expect(page.locator("#sample-count")).to_have_text("At least 200 images")
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    note = page.locator("#sample-note")
    expect(note).to_have_text("The next images could not be fetched. The server cannot be reached.")
    again = page.get_by_role("button", name="Try again")
    again.click()
    expect(again).to_be_focused()
    expect(note).to_contain_text("could not be fetched")
    failing[0] = False
    again.click()
    expect(note).to_have_text("")
    expect(again).to_be_hidden()
    expect(page.locator('[data-number="200"] button')).to_be_focused()
    # Nobody counts by confidence, so the list does, as it grows.
    expect(page.locator("#sample-count")).to_have_text(re.compile("At least [468]00 images"))
    scroll_until_loaded(page, 1199)
    expect(page.locator("#sample-count")).to_have_text("1,200 images")


def test_another_view_or_width_loses_neither_the_place_nor_the_focus(page: Page, address: str) -> None:
    page.goto(f"{address}?split=train")
    total(page)
    scroll_until_loaded(page, 600)
    page.evaluate("window.scrollTo(0, 9000)")
    first = first_in_sight(page)
    assert first > 100
    focused = page.locator(f'.tile[data-index="{first + 3}"]')
    focused.focus()
    for key, images in (("6", 5), ("2", 1)):
        page.keyboard.press(key)
        expect(focused.locator("img")).to_have_count(images)
        assert first_in_sight(page) <= first < first_in_sight(page) + 8
        expect(focused).to_be_focused()
        expect(focused).to_be_in_viewport()
    assert first_in_sight(page) == first
    for width in (700, 1280, 390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        seen = first_in_sight(page)
        assert seen <= first < seen + 8
        expect(focused).to_be_focused()
        expect(focused).to_be_in_viewport()
    assert first_in_sight(page) == first


def test_a_phone_that_is_turned_stays_where_it_was(
    open_context: Open, logged_in: dict[str, object], address: str
) -> None:
    page = open_context(storage_state=logged_in, viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    page.goto(f"{address}?split=train")
    total(page)
    page.evaluate("window.scrollTo(0, 8000)")
    first = first_in_sight(page)
    page.set_viewport_size({"width": PHONE["height"], "height": PHONE["width"]})
    assert first_in_sight(page) <= first < first_in_sight(page) + 7
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    assert first_in_sight(page) == first


def test_tab_passes_through_the_images_and_reaches_what_is_picked(page: Page, address: str) -> None:
    page.goto(f"{address}?split=train")
    total(page)
    page.get_by_label(f"Pick image {shown(page)[1]}", exact=True).check()
    page.locator("#sample-views input:checked").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the picked images")).to_be_focused()
    page.keyboard.press("Tab")
    cell = page.locator(".cell").nth(1)
    expect(cell.locator("button")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".tile").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cell).to_have_attribute("aria-posinset", "2")
    expect(cell).to_have_attribute("aria-setsize", "1200")
    page.keyboard.press("Tab")
    expect(cell.locator("input")).to_be_focused()
    page.keyboard.press("Tab")
    bar = page.get_by_role("group", name="Picked images")
    expect(bar.get_by_role("link", name="CSV of these")).to_be_focused()
    # Where the images were scrolled away from, Tab comes back to those that are seen.
    page.evaluate("window.scrollTo(0, 4000)")
    first = first_in_sight(page)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.locator(f'.tile[data-index="{first}"]')).to_be_focused()


def test_back_leads_to_the_place_in_the_list(page: Page, address: str) -> None:
    page.goto(f"{address}?split=train")
    total(page)
    scroll_until_loaded(page, 900)
    page.evaluate("window.scrollTo(0, 15000)")
    first = first_in_sight(page)
    assert first > 500
    page.wait_for_timeout(300)  # until it is written down
    # Not with the mouse: Playwright may scroll the page for that.
    page.get_by_role("link", name="Data sets").dispatch_event("click")
    expect(page.get_by_role("heading", name="Data sets", exact=True)).to_be_visible()
    page.go_back()
    expect(page.locator(f'.tile[data-index="{first}"]')).to_be_in_viewport()
    assert first_in_sight(page) == first
    # The same after another list, without leaving the page.
    page.get_by_label("Class").select_option("1")
    expect(page).to_have_url(re.compile("label=1"))
    total(page)
    page.go_back()
    expect(page.locator(f'.tile[data-index="{first}"]')).to_be_in_viewport()
    assert first_in_sight(page) == first


def test_what_is_picked_is_passed_on_with_the_address(
    open_context: Open, logged_in: dict[str, object], page: Page, address: str
) -> None:
    page.goto(f"{address}?split=train")
    total(page)
    chosen = shown(page)[:3]
    for index in chosen:
        page.get_by_label(f"Pick image {index}", exact=True).check()
    picked = ",".join(map(str, chosen))
    expect(page).to_have_url(f"{address}?split=train&picked={picked}")
    page.get_by_role("button", name="Show only these").click()
    expect(page).to_have_url(f"{address}?split=train&picked={picked}&only=1")
    other = open_context(storage_state=logged_in).new_page()
    other.goto(page.url)
    expect(other.locator("#sample-count")).to_have_text("3 images")
    assert shown(other) == chosen
    expect(other.get_by_role("button", name="Show only these")).to_have_attribute("aria-pressed", "true")
    page.go_back()
    expect(page).to_have_url(f"{address}?split=train&picked={picked}")
    expect(page.get_by_role("button", name="Show only these")).to_have_attribute("aria-pressed", "false")


def test_without_storage_images_are_picked_all_the_same(page: Page, address: str) -> None:
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    page.goto(address)
    total(page)
    index = shown(page)[0]
    page.get_by_label(f"Pick image {index}", exact=True).check()
    page.reload()
    expect(page.get_by_role("group", name="Picked images")).to_contain_text("1 image picked")


def test_a_report_is_made_of_what_is_picked_up_to_sixty_images(page: Page, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}?picked=3,14")
    bar = page.get_by_role("group", name="Picked images")
    with page.expect_download() as download:
        bar.get_by_role("link", name="Report of these").click()
    report = tmp_path / "report.html"
    download.value.save_as(report)
    assert re.findall(r"image (\d+)</span>", report.read_text()) == ["3", "14"]
    page.goto(f"{address}?picked={','.join(map(str, range(60)))}")
    expect(bar).to_contain_text("60 images picked")
    expect(bar.get_by_role("link", name="Report of these")).to_be_visible()
    page.get_by_label("Pick image 60", exact=True).check()
    expect(bar.get_by_role("link", name="Report of these")).to_be_hidden()
    expect(bar).to_contain_text("A report takes at most 60 images.")
