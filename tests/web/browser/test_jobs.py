"""Submitting, watching and cancelling jobs."""

from __future__ import annotations

import json
import re
import uuid
from urllib.parse import parse_qs

from playwright.sync_api import Page, Route, expect

from tests.web.browser.conftest import Watched
from tests.web.browser.stack import Stack


def test_a_job_is_submitted_and_watched_to_its_end_across_a_restart(
    page: Page, stack: Stack, dataset_id: uuid.UUID, watched: Watched
) -> None:
    page.goto(f"{stack.url}/jobs/new")
    page.get_by_label("Data set").select_option(str(dataset_id))
    page.get_by_label("Preset").select_option("biased_mnist")
    expect(page.get_by_label("ERM epochs")).to_have_value("100")
    page.get_by_label("ERM epochs").fill("many")
    expect(page.locator("[data-error='erm.epochs']")).to_contain_text("valid integer")
    expect(page.get_by_label("ERM epochs")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("ERM epochs").fill("6")
    expect(page.locator("[data-check-state]")).to_contain_text("Ready to submit")
    page.get_by_label("Name", exact=True).fill("Watched")
    page.locator("[data-section=limits] > summary").click()
    page.get_by_label("Max attempts").fill("2")
    page.get_by_role("button", name="Submit job").click()

    expect(page).to_have_url(re.compile("/jobs/[0-9a-f-]{36}$"))
    expect(page.get_by_role("heading", name="Watched")).to_be_visible()
    log = page.locator("[data-log]")
    expect(log).to_contain_text("Epoch 1 of 6", timeout=30_000)
    # The server goes away and comes back; the page catches up by itself.
    watched.allow("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|net::ERR")
    stack.stop_api()
    stack.start_api()
    expect(page.locator(".words")).to_contain_text("Worst group from", timeout=40_000)
    expect(page.locator(".badge").first).to_have_text("succeeded")
    epochs = [text for text in log.locator("li").all_text_contents() if "of 6" in text]
    assert [re.findall(r"Epoch (\d)", text)[0] for text in epochs] == list("123456")
    expect(page.locator(".timeline li.done")).to_have_count(5)


def test_a_running_job_is_cancelled_from_its_page(page: Page, stack: Stack, dataset_id: uuid.UUID) -> None:
    job_id = stack.submit(dataset_id, name="Endless", config={"erm": {"epochs": 2000}})
    page.goto(f"{stack.url}/jobs/{job_id}")
    expect(page.locator(".timeline li.now")).to_contain_text("ERM training", timeout=30_000)
    expect(page.locator("[data-step]")).to_contain_text(" of ")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".badge").first).to_have_text("running")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".badge").first).to_have_text("cancelled", timeout=10_000)
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def actions(page: Page) -> list[str]:
    """Which of the buttons that change a job's state are there."""
    return page.locator(".head .buttons form button").all_text_contents()


def test_every_state_of_a_job_offers_what_can_be_done_with_it(page: Page, stack: Stack, dataset_id: uuid.UUID) -> None:
    job_id = stack.submit(dataset_id, name="Interrupted", config={"erm": {"epochs": 2000}})
    state = page.locator(".badge").first
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{stack.url}/jobs/{job_id}")
    expect(page.locator(".timeline li.now")).to_contain_text("ERM training", timeout=30_000)
    assert actions(page) == ["Pause", "Cancel"]
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("paused", timeout=30_000)
    assert actions(page) == ["Resume", "Cancel"]
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("running", timeout=30_000)
    assert actions(page) == ["Pause", "Cancel"]
    expect(page.locator("[data-log]")).to_contain_text("Queued again, after it was paused")
    page.get_by_role("button", name="Cancel").click()
    expect(state).to_have_text("cancelled", timeout=30_000)
    assert actions(page) == ["Resume", "Delete"]
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("running", timeout=30_000)
    page.get_by_role("button", name="Cancel").click()
    expect(state).to_have_text("cancelled", timeout=30_000)
    page.get_by_role("button", name="Delete").click()
    expect(page).to_have_url(f"{stack.url}/jobs")
    expect(page.get_by_role("link", name="Interrupted")).to_have_count(0)


def test_a_waiting_job_is_paused_resumed_and_cancelled_at_once(
    page: Page, stack: Stack, dataset_id: uuid.UUID, watched: Watched
) -> None:
    busy = [stack.submit(dataset_id, name=f"Busy {number}", config={"erm": {"epochs": 2000}}) for number in range(2)]
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{stack.url}/jobs/{busy[0]}")
    expect(page.locator(".badge").first).to_have_text("running", timeout=30_000)
    page.goto(f"{stack.url}/jobs/{busy[1]}")
    state = page.locator(".badge").first
    expect(state).to_have_text("queued")
    assert actions(page) == ["Pause", "Cancel"]
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("paused")
    # Somebody else resumes it while the server is away: the page learns of it when it is back.
    watched.allow("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|net::ERR")
    stack.stop_api()
    stack.start_api()
    stack.client.post(f"/v1/jobs/{busy[1]}/resume").raise_for_status()
    expect(state).to_have_text("queued", timeout=20_000)
    page.get_by_role("button", name="Cancel").click()
    expect(state).to_have_text("cancelled")
    assert actions(page) == ["Resume", "Delete"]
    stack.client.post(f"/v1/jobs/{busy[0]}/cancel").raise_for_status()


def test_a_finished_job_tells_first_what_it_repaired(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs/{finished_job}")
    words = page.locator(".words").text_content() or ""
    before, after = map(int, re.findall(r"Worst group from (\d+) % to (\d+) %", words)[0])
    assert after - before >= 30, words
    expect(page.get_by_text("looks like a shortcut").first).to_be_visible()


def test_a_threshold_is_picked_by_keyboard_and_told(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs/{finished_job}")
    told = page.locator("figure[data-split='test:biased'] [data-realised]")
    expect(told).to_contain_text("coverage")
    slider = page.get_by_role("slider", name="Threshold")
    slider.focus()
    page.keyboard.press("End")
    # The lowest threshold is the least sure image of the validation split: it answers all of that.
    expect(page.locator("figure[data-split='val'] [data-realised]")).to_contain_text("coverage 100.0 %")
    before = told.text_content()
    page.get_by_label("Score").select_option("erm")
    slider.focus()
    page.keyboard.press("Home")
    expect(told).not_to_have_text(str(before))


def test_the_list_is_filtered_without_leaving_the_page(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs")
    page.get_by_label("Name contains").fill("finished")
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_text("No job fits")).to_be_visible()
    expect(page).to_have_url(re.compile("status=failed.*name=finished"))
    page.reload()
    expect(page.get_by_label("Name contains")).to_have_value("finished")


def test_a_clone_starts_with_the_same_settings(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs/{finished_job}")
    page.get_by_role("link", name="Clone").click()
    expect(page.get_by_label("ERM epochs")).to_have_value("3")
    expect(page.get_by_label("Preset")).to_have_value("biased_mnist")
    expect(page.get_by_label("Name", exact=True)).to_have_value("The finished one")


def test_two_jobs_are_compared(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    stack.twin(finished_job)
    page.goto(f"{stack.url}/jobs")
    page.get_by_label("Compare The finished one").check()
    page.get_by_label("Compare the twin").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("row", name="seed")).to_contain_text("1")
    expect(page.get_by_role("row", name=re.compile("^train"))).to_be_visible()
    expect(page.locator(".pairs li").first).to_contain_text("image 0")


def test_jobs_on_different_data_sets_are_not_taken_for_comparable(
    page: Page, stack: Stack, finished_job: uuid.UUID
) -> None:
    other = stack.twin(finished_job, name="On other images")
    stack.change_manifest(other, dataset_sha256="0" * 64)
    page.goto(f"{stack.url}/compare?job={finished_job}&job={other}")
    warning = page.get_by_role("region", name="Different data sets")
    expect(warning).to_contain_text("other images")
    expect(page.get_by_text("Images are compared one by one only where")).to_be_visible()
    expect(page.locator(".pairs")).to_have_count(0)
    page.goto(f"{stack.url}/compare?job={finished_job}&job={stack.twin(finished_job)}")
    expect(page.get_by_role("heading", name="Compare two jobs")).to_be_visible()
    expect(warning).to_have_count(0)


def test_a_form_that_cannot_be_checked_says_why(
    page: Page, stack: Stack, dataset_id: uuid.UUID, watched: Watched
) -> None:
    watched.allow("status of 4|status of 5|ERR_FAILED")
    answers: list[tuple[int, dict[str, str], str]] = []

    def answer(route: Route) -> None:
        if not answers:
            route.abort()
            return
        status, headers, body = answers.pop()
        route.fulfill(status=status, headers=headers, body=body, content_type="application/problem+json")

    page.route("**/jobs/check", answer)
    page.goto(f"{stack.url}/jobs/new?dataset={dataset_id}")
    state = page.locator("[data-check-state]")
    expect(state).to_have_text("Not checked: the server cannot be reached.")
    epochs = page.get_by_label("ERM epochs")
    for status, code, told in (
        (401, "unauthenticated", "you are logged out. Load the page again to log in."),
        (403, "csrf_failed", "this page is too old. Load it again."),
        (403, "insufficient_scope", "the detail"),
        (500, "internal_error", "the detail"),
    ):
        answers.append((status, {}, json.dumps({"code": code, "detail": "the detail"})))
        epochs.fill(str(status))
        expect(state).to_have_text(f"Not checked: {told}")
    answers.append((502, {}, "<html>"))
    epochs.fill("502")
    expect(state).to_have_text("Not checked: the server answered 502.")
    # After too many requests it is asked again by itself.
    answers.append((429, {"Retry-After": "1"}, "{}"))
    epochs.fill("6")
    expect(state).to_have_text("Not checked: too many requests. Checked again in 1.0 s.")
    page.unroute("**/jobs/check")
    expect(state).to_contain_text("Ready to submit")


def test_a_form_come_back_to_submits_another_job_only_if_something_was_changed(
    page: Page, stack: Stack, dataset_id: uuid.UUID
) -> None:
    keys: list[str] = []

    def stay(route: Route) -> None:
        sent = parse_qs(route.request.post_data or "")
        keys.append(sent["idempotency_key"][0])
        route.fulfill(status=204)  # the page stays as it is, as one that comes out of the back/forward cache

    page.goto(f"{stack.url}/jobs/new?dataset={dataset_id}")
    page.route("**/jobs", stay)
    submit = page.get_by_role("button", name="Submit job")
    for name in ("one", "one", "other"):
        page.get_by_label("Name", exact=True).fill(name)
        with page.expect_response("**/jobs"):
            submit.click()
        page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        expect(submit).to_be_enabled()
    assert keys[0] == keys[1] != keys[2]


def test_images_of_a_comparison_lead_to_their_detail(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    twin = stack.twin(finished_job)
    page.goto(f"{stack.url}/compare?job={finished_job}&job={twin}")
    page.get_by_role("link", name="what B looks at").first.click()
    expect(page).to_have_url(re.compile(f"/jobs/{twin}/samples"))
    expect(page.locator("#sample-title")).to_contain_text("Image 0 ")
