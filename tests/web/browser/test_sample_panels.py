"""The pictures of an image: whole, as large as the window allows, and never under the words of another."""

from __future__ import annotations

import uuid

import pytest
from playwright.sync_api import Page, Route, ViewportSize, expect

from tests.web.browser.stack import Stack
from tests.web.browser.test_look import PHONE, load_pictures
from tests.web.browser.waiting import wait_for


def test_no_word_lies_over_a_picture_of_the_grid(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs/{finished_job}/samples?flipped=any")
    badge = page.locator(".tile .flip").first
    expect(badge).to_have_text("fixed")
    over = page.locator(".tile").evaluate_all(
        """(tiles) => tiles.filter((tile) => {
          const picture = tile.querySelector("img").getBoundingClientRect();
          return picture.bottom > tile.querySelector(".flip").getBoundingClientRect().top;
        }).length"""
    )
    assert over == 0


@pytest.mark.parametrize("size", [PHONE, {"width": 1440, "height": 900}])
def test_a_picture_is_as_large_as_the_window_allows(
    page: Page, stack: Stack, finished_job: uuid.UUID, size: ViewportSize
) -> None:
    page.set_viewport_size(size)
    page.goto(f"{stack.url}/jobs/{finished_job}/samples?image=0")
    stages = page.locator("#sample-dialog .stage")
    expect(stages.first).to_be_visible()
    all_four = stages.first.bounding_box()
    page.get_by_role("button", name="After", exact=True).click()
    expect(stages.locator("visible=true")).to_have_count(1)
    expect(page.get_by_role("button", name="After", exact=True)).to_have_attribute("aria-pressed", "true")
    box = page.locator('[data-of="after"] .stage').bounding_box()
    assert box is not None
    assert all_four is not None
    assert min(box["width"], box["height"]) > 0.7 * min(size["width"], size["height"])
    assert box["width"] > 1.5 * all_four["width"]
    # The next image is shown as large; a click, as the key 1, goes back to all four.
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sample-title")).not_to_contain_text("Image 0 ")
    expect(stages.locator("visible=true")).to_have_count(1)
    page.locator('[data-of="after"] .stage').click()
    expect(stages.locator("visible=true")).to_have_count(4)
    page.keyboard.press("4")
    expect(stages.locator("visible=true")).to_have_count(1)
    page.keyboard.press("1")
    expect(stages.locator("visible=true")).to_have_count(4)


def test_no_picture_is_shown_under_the_words_of_another(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs/{finished_job}/samples?image=0")
    pictures = page.locator("#sample-dialog [data-picture]")
    expect(page.locator("#sample-dialog .loading")).to_have_count(0)
    load_pictures(page)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/image?*", hold)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sample-title")).not_to_contain_text("Image 0 ")
    for number in range(pictures.count()):
        expect(pictures.nth(number)).to_be_hidden()
    for route in held:
        route.continue_()
    page.unroute("**/image?*")
    wait_for(page, "() => !document.querySelector('#sample-dialog .loading')")
    expect(pictures.first).to_be_visible()
