"""Getting in and out."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.web.browser.conftest import Watched
from tests.web.browser.stack import Stack


def test_one_click_logs_in_and_out(nobodys_page: Page, stack: Stack) -> None:
    page = nobodys_page
    page.goto(stack.login_link())
    expect(page).to_have_url(f"{stack.url}/jobs")
    expect(page.get_by_text(stack.tenant).first).to_be_visible()
    page.get_by_text(stack.tenant).first.click()
    page.get_by_role("button", name="Log out", exact=True).click()
    expect(page).to_have_url(f"{stack.url}/login")
    page.goto(f"{stack.url}/jobs")
    expect(page).to_have_url(f"{stack.url}/login?next=%2Fjobs")


def test_a_key_logs_in_and_leads_to_where_one_wanted_to_go(nobodys_page: Page, stack: Stack, watched: Watched) -> None:
    watched.allow("status of 401")
    page = nobodys_page
    page.goto(f"{stack.url}/datasets")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("mt_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("unknown")
    page.get_by_label("API key").fill(stack.key)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{stack.url}/datasets")


def test_the_cookie_is_out_of_reach_for_scripts(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/jobs")
    assert page.evaluate("document.cookie") == ""
