"""Bringing data: drag and drop, lost connections, live checks."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from tests.masktune_core.archives import zip_bytes
from tests.masktune_core.downloads import celeba
from tests.web.browser.conftest import Watched
from tests.web.browser.stack import Stack
from tests.web.browser.waiting import wait_for

DROP = """
([encoded, name]) => {
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name));
  const drop = document.querySelector(".drop");
  for (const type of ["dragenter", "dragover", "drop"]) {
    drop.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}
"""


def test_a_dropped_archive_becomes_a_data_set_although_the_connection_breaks(
    page: Page, stack: Stack, archive: Path, watched: Watched
) -> None:
    watched.allow("ERR_FAILED")
    broken: list[str] = []
    asked: list[str] = []

    def break_once(route: Route) -> None:
        if route.request.method == "PATCH" and not broken:
            broken.append(route.request.url)
            route.abort()
        elif route.request.method == "GET" and not asked:
            asked.append(route.request.url)
            route.fulfill(json={"status": "verifying"})  # as a service does that stores in S3
        else:
            route.continue_()

    page.route(re.compile("/v1/uploads/"), break_once)
    page.goto(f"{stack.url}/datasets")
    page.evaluate(DROP, [base64.b64encode(archive.read_bytes()).decode(), "digits-2026.tar.gz"])
    expect(page.get_by_label("Name", exact=True)).to_have_value("digits-2026")
    page.get_by_label("Name", exact=True).fill("Dropped digits")
    page.get_by_role("button", name="Upload and check").click()
    expect(page).to_have_url(re.compile("/datasets/[0-9a-f-]{36}$"))
    assert broken
    assert asked
    # It is checked while one watches, and then shows what is in it.
    expect(page.get_by_role("heading", name="Groups")).to_be_visible(timeout=30_000)
    expect(page.locator(".badge").first).to_have_text("ready")
    tiles = page.locator("#tiles img")
    expect(tiles).to_have_count(60)
    wait_for(page, "[...document.querySelectorAll('#tiles img')].some((image) => image.naturalWidth === 28)")
    page.get_by_role("combobox", name="Split").select_option("test:biased")
    expect(page.locator("#tiles li").first).to_contain_text("square=")
    page.get_by_role("combobox", name="Class").select_option("5-9")
    expect(page.locator("#tiles span", has_text="0-4")).to_have_count(0)


def test_what_an_archive_leaves_open_is_asked_for_under_options(page: Page, stack: Stack, tmp_path: Path) -> None:
    pictures, tables = celeba("csv")
    (tmp_path / "celeba.zip").write_bytes(zip_bytes(pictures | tables))
    page.goto(f"{stack.url}/datasets")
    page.get_by_label("Drop an archive here").set_input_files(tmp_path / "celeba.zip")
    expect(page.get_by_label("CelebA: label")).to_be_hidden()
    page.get_by_text("Options").click()
    page.get_by_label("CelebA: label").fill("Smiling")
    with page.expect_request(lambda request: request.url.endswith("/v1/datasets")) as sent:
        page.get_by_role("button", name="Upload and check").click()
    body = sent.value.post_data_json
    assert body is not None
    assert body["options"] == {"celeba": {"target": "Smiling"}}
    expect(page.get_by_role("img", name=re.compile("^not Smiling, ")).first).to_be_visible(timeout=30_000)


def test_a_broken_archive_is_told_in_full(page: Page, stack: Stack, tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"this is no archive")
    page.goto(f"{stack.url}/datasets")
    page.get_by_label("Drop an archive here").set_input_files(broken)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("cannot be used")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("not_an_archive")).to_be_visible()


def test_weights_that_do_not_fit_are_refused_with_their_keys(page: Page, stack: Stack, tmp_path: Path) -> None:
    import torch

    weights = tmp_path / "weights.pt"
    torch.save({"nosuch.weight": torch.zeros(2), "other.weight": torch.zeros(2)}, weights)
    page.goto(f"{stack.url}/checkpoints")
    page.get_by_label("Drop the weights here").set_input_files(weights)
    page.get_by_label("Architecture").fill("small_cnn")
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("do not fit")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("region", name="Keys that the file has and the architecture lacks")).to_contain_text(
        "nosuch"
    )


def problem(code: str, status: int) -> dict[str, object]:
    return {"type": "about:blank", "title": code, "status": status, "code": code, "detail": f"Refused: {code}."}


def test_a_refused_data_set_is_asked_for_again_without_sending_the_archive_again(
    page: Page, stack: Stack, archive: Path, watched: Watched
) -> None:
    watched.allow("status of 503|ERR_FAILED")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method) if "/v1/uploads" in request.url else None)
    refusals = iter(["refused", "lost", "refused"])

    def refuse(route: Route) -> None:
        kind = next(refusals, None)
        if route.request.method != "POST" or kind is None:
            route.continue_()
        elif kind == "lost":
            route.abort()
        else:
            route.fulfill(status=503, json=problem("service_unavailable", 503))

    page.route(re.compile("/v1/datasets$"), refuse)
    page.goto(f"{stack.url}/datasets")
    page.get_by_label("Drop an archive here").set_input_files(archive)
    page.get_by_label("Name", exact=True).fill("Refused at first")
    button = page.get_by_role("button", name="Upload and check")
    button.click()
    error = page.locator("[data-progress-error]")
    expect(error).to_contain_text("Refused: service_unavailable. The file has arrived and is kept")
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    expect(page.get_by_role("button", name="Discard")).to_be_visible()
    expect(button).to_be_focused()
    assert sent.count("PATCH") == 1
    button.click()
    expect(error).to_contain_text("The server cannot be reached.")
    # Also a page that was closed meanwhile knows of it when the same file is chosen.
    page.reload()
    page.get_by_label("Drop an archive here").set_input_files(archive)
    page.get_by_label("Name", exact=True).fill("Refused at first")
    button.click()
    expect(error).to_contain_text("The file has arrived and is kept")
    button.click()
    expect(page).to_have_url(re.compile("/datasets/[0-9a-f-]{36}$"))
    assert sent.count("PATCH") == 1


def test_the_fields_are_checked_before_a_byte_is_sent(page: Page, stack: Stack, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"never looked at")
    uploads: list[str] = []
    page.on("request", lambda request: uploads.append(request.url) if "/v1/" in request.url else None)
    page.goto(f"{stack.url}/checkpoints")
    page.get_by_label("Drop the weights here").set_input_files(weights)
    field = page.get_by_label("Architecture")
    assert "resnet50" in page.locator("#architectures option").all_text_contents()
    field.fill("resnet51")
    page.get_by_role("button", name="Upload and check").click()
    told = page.locator("[data-error=architecture]")
    expect(told).to_contain_text("unknown architecture 'resnet51'", ignore_case=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    assert uploads == []


def test_an_upload_is_held_gone_on_with_and_discarded(
    page: Page, stack: Stack, archive: Path, watched: Watched
) -> None:
    watched.allow("status of 413|ERR_FAILED|ERR_ABORTED")
    held: list[Route] = []
    page.route(
        re.compile("/v1/uploads/."),
        lambda route: held.append(route) if route.request.method == "PATCH" else route.continue_(),
    )
    page.goto(f"{stack.url}/datasets")
    page.get_by_label("Drop an archive here").set_input_files(archive)
    button = page.get_by_role("button", name="Upload and check")
    button.focus()
    page.keyboard.press("Enter")
    pause = page.get_by_role("button", name="Pause")
    expect(pause).to_be_focused()
    page.keyboard.press("Enter")
    on = page.get_by_role("button", name="Go on")
    expect(on).to_be_focused()
    # On top of the other: without any, a request that is still held, not yet given up, would go through.
    page.route(
        re.compile("/v1/uploads/."),
        lambda route: (
            route.fulfill(status=413, json=problem("quota_exceeded", 413))
            if route.request.method == "PATCH"
            else route.continue_()
        ),
    )
    page.keyboard.press("Enter")
    # Refused for good: nothing is left to hold, and what has arrived can be thrown away.
    expect(page.locator("[data-progress-error]")).to_contain_text("Refused: quota_exceeded.")
    expect(pause).to_be_hidden()
    expect(on).to_be_hidden()
    expect(button).to_be_enabled()
    with page.expect_request(lambda request: request.method == "DELETE" and "/v1/uploads/" in request.url):
        page.get_by_role("button", name="Discard").click()
    expect(page.locator("[data-progress]")).to_be_hidden()
    # The next one begins anew, and is not held.
    page.unroute_all()
    button.click()
    expect(page).to_have_url(re.compile("/datasets/[0-9a-f-]{36}$"))


def test_progress_is_told_in_steps(page: Page, stack: Stack, tmp_path: Path, watched: Watched) -> None:
    watched.allow("ERR_FAILED")
    large = tmp_path / "large.zip"
    large.write_bytes(bytes(16 * 1024 * 1024))
    page.goto(f"{stack.url}/datasets")
    page.evaluate(
        """
        () => {
          window.told = [];
          const place = document.querySelector("[data-progress-told]");
          new MutationObserver(() => window.told.push(place.textContent)).observe(place, { childList: true });
        }
        """
    )
    expect(page.locator("[data-progress-text]")).not_to_have_attribute("role", "status")
    page.get_by_label("Drop an archive here").set_input_files(large)
    page.route(
        re.compile("/v1/datasets$"),
        lambda route: route.abort() if route.request.method == "POST" else route.continue_(),
    )
    page.get_by_role("button", name="Upload and check").click()
    expect(page.locator("[data-progress-error]")).to_contain_text("cannot be reached", timeout=30_000)
    told = page.evaluate("window.told")
    assert told == sorted(set(told), key=lambda text: int(text.split()[0]))
    assert told[-1] == "100 % sent"
    assert len(told) <= 10
    page.get_by_role("button", name="Discard").click()
