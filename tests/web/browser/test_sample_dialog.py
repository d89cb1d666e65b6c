"""One image, large: the ends of the list, a server that is away, images that do not exist, and messages over it."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from tests.web.browser.conftest import Watched
from tests.web.browser.stack import Stack
from tests.web.browser.test_saliency import shown, total


@pytest.fixture
def address(stack: Stack, finished_job: uuid.UUID) -> str:
    return f"{stack.url}/jobs/{finished_job}/samples"


def test_the_end_of_the_list_is_told_and_takes_nothing_away(page: Page, address: str) -> None:
    page.goto(f"{address}?picked=3,14&only=1&image=14")
    title = page.locator("#sample-title")
    expect(title).to_contain_text("Image 14 ")
    following = page.get_by_role("button", name="Next image")
    following.click()
    expect(page.get_by_role("dialog").get_by_text("This is the last image of the list.")).to_be_visible()
    expect(following).to_be_focused()
    expect(following).to_have_attribute("aria-disabled", "true")
    page.get_by_role("button", name="Previous image").click()
    expect(title).to_contain_text("Image 3 ")
    expect(following).to_have_attribute("aria-disabled", "false")
    # Opened anew at another image, both ways are open.
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("button", name="Previous image")).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Escape")
    page.locator('.tile[data-index="14"]').click()
    expect(page.get_by_role("button", name="Previous image")).to_have_attribute("aria-disabled", "false")


def test_a_server_that_is_away_is_told_and_asked_again(page: Page, address: str, watched: Watched) -> None:
    watched.allow("ERR_FAILED")
    page.goto(address)
    total(page)
    first, second = shown(page)[:2]
    page.route(re.compile(r"/samples/\d+$"), lambda route: route.abort())
    page.locator(".tile").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    page.unroute_all()
    dialog.get_by_role("button", name="Try again").click()
    expect(page.locator("#sample-title")).to_contain_text(f"Image {first} ")
    expect(dialog.get_by_role("alert")).to_be_hidden()
    # While the neighbour cannot be asked for, nobody knows that there is none.
    page.route(re.compile(r"/samples\?"), lambda route: route.abort())
    following = page.get_by_role("button", name="Next image")
    following.click()
    expect(dialog.get_by_text("The server cannot be reached.").last).to_be_visible()
    expect(following).to_have_attribute("aria-disabled", "false")
    page.unroute_all()
    following.click()
    expect(page.locator("#sample-title")).to_contain_text(f"Image {second} ")


def test_an_image_that_does_not_exist_leaves_no_other_ones_picture(page: Page, address: str, watched: Watched) -> None:
    watched.allow("status of 404")
    page.goto(f"{address}?image=99999")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("99999")
    expect(dialog.locator("[data-dialog-body]")).to_be_hidden()
    expect(dialog.get_by_role("checkbox")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sample-title")).to_have_text("Image 99999")
    page.keyboard.press("Escape")
    page.locator(".tile").first.click()
    expect(dialog.locator("[data-dialog-body]")).to_be_visible()
    expect(dialog.get_by_role("alert")).to_be_hidden()


def test_only_a_click_beside_the_sheet_closes_it(page: Page, address: str) -> None:
    page.goto(f"{address}?image=3")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    box = dialog.bounding_box()
    assert box is not None
    left, top = box["x"], box["y"]
    page.mouse.click(left + 4, top + 4)
    # A slider that is drawn too far ends beside the sheet.
    page.mouse.move(left + 100, top + 40)
    page.mouse.down()
    page.mouse.move(left - 30, top + 40)
    page.mouse.up()
    expect(dialog).to_be_visible()
    page.mouse.click(left - 30, top + 40)
    expect(dialog).to_be_hidden()


def test_a_message_comes_where_it_can_be_seen_over_the_image(page: Page, address: str) -> None:
    page.goto(f"{address}?picked={','.join(map(str, range(500)))}&image=700")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("checkbox").focus()
    page.keyboard.press("x")
    expect(dialog.get_by_text("At most 500 images can be picked.")).to_be_visible()
    expect(dialog.get_by_role("checkbox")).not_to_be_checked()
