"""How the pages look: light and dark, wide and narrow, for everybody. Leaves screenshots behind."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, ViewportSize, expect

from tests.web.browser.conftest import SCREENSHOTS, Watched
from tests.web.browser.stack import Stack
from tests.web.browser.waiting import wait_for

AXE = (Path(__file__).parents[1] / "vendor" / "axe.min.js").read_text(encoding="utf-8")
EVERYTHING: dict[str, object] = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
CONTRAST: dict[str, object] = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""All that depends on the colours."""
ERROR = {
    "code": "out_of_gpu_memory",
    "message": "a batch of 512 does not fit",
    "stage": "training_erm",
    "retryable": False,
    "advice": "Set runtime.micro_batch, or lower erm.batch_size.",
    "log": ["2026-01-31T12:00:10Z [warning] attempt_failed"],
}
PHONE: ViewportSize = {"width": 390, "height": 844}

Open = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def addresses(
    stack: Stack, dataset_id: uuid.UUID, finished_job: uuid.UUID, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Every page in every state, by a name for its screenshot."""
    broken = tmp_path_factory.mktemp("broken") / "broken.zip"
    broken.write_bytes(b"this is no archive")
    running = stack.under_way(finished_job, "The running one")
    with stack.nobody_working():
        paused = stack.submit(dataset_id, name="The paused one")
        stack.client.post(f"/v1/jobs/{paused}/pause").raise_for_status()
    bare = stack.without_dataset(finished_job, "The one without its images")
    twin = stack.twin(finished_job)
    failed = stack.twin(finished_job, status="failed", name="The failed one", error=json.dumps(ERROR))
    yield {
        "jobs": "/jobs",
        "new-job": f"/jobs/new?preset=waterbirds&dataset={dataset_id}",
        "job": f"/jobs/{finished_job}",
        "failed-job": f"/jobs/{failed}",
        "running-job": f"/jobs/{running}",
        "paused-job": f"/jobs/{paused}",
        "no-samples": f"/jobs/{paused}/samples",
        "no-insight": f"/jobs/{paused}/insight",
        "samples-without-images": f"/jobs/{bare}/samples",
        "sample-without-images": f"/jobs/{bare}/samples?image=0",
        "compare": f"/compare?job={finished_job}&job={twin}",
        "datasets": "/datasets",
        "dataset": f"/datasets/{dataset_id}",
        "invalid-dataset": f"/datasets/{stack.upload(broken, 'Broken', 'invalid')}",
        "checkpoints": "/checkpoints",
        "error": "/nowhere",
        "login": "/login",
    }
    stack.set_status(running, "cancelled")


def violations(page: Page, rules: dict[str, object] = EVERYTHING, within: str = "html") -> list[str]:
    """What axe finds against WCAG 2.2 AA, and its best practices; everything that is folded is unfolded first.

    Not the menu, which would lie over other things: see `menu_violations`.
    """
    page.evaluate("document.querySelectorAll('details:not(.menu)').forEach((details) => { details.open = true; })")
    page.evaluate(AXE)
    run = "([within, rules]) => axe.run(within, { runOnly: rules, resultTypes: ['violations'] })"
    found = page.evaluate(run, [within, rules])
    return [
        f"{page.url}: {each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def menu_violations(page: Page, rules: dict[str, object]) -> list[str]:
    """The same of the open menu."""
    page.locator("details.menu > summary").click()
    found = violations(page, rules, "details.menu")
    page.keyboard.press("Escape")
    return found


def load_pictures(page: Page) -> None:
    """Have those fetched that would wait until they are scrolled to."""
    # Not until the network is idle: a page that follows a job never is.
    expect(page.locator("[aria-busy], .htmx-request")).to_have_count(0)
    page.evaluate("document.querySelectorAll('img[loading=lazy]').forEach((image) => { image.loading = 'eager'; })")
    wait_for(page, "() => [...document.images].every((image) => image.complete || !image.getAttribute('src'))")


@pytest.mark.parametrize(("scheme", "rules"), [("light", EVERYTHING), ("dark", CONTRAST)])
def test_nobody_is_kept_out(
    open_context: Open,
    logged_in: dict[str, object],
    stack: Stack,
    addresses: dict[str, str],
    watched: Watched,
    scheme: str,
    rules: dict[str, object],
) -> None:
    watched.allow("status of 404")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    look = {"color_scheme": scheme, "reduced_motion": "reduce"}
    page, nobodys = (open_context(storage_state=state, **look).new_page() for state in (logged_in, None))
    found: list[str] = []
    for name, address in addresses.items():
        here = nobodys if name == "login" else page
        here.goto(stack.url + address)
        found += violations(here, rules)
        load_pictures(here)
        here.screenshot(path=SCREENSHOTS / f"{name}-{scheme}.png", full_page=not name.startswith("sample"))
        if name == "jobs":
            found += menu_violations(here, rules)
    assert found == []


def test_every_page_fits_a_phone(
    open_context: Open, logged_in: dict[str, object], stack: Stack, addresses: dict[str, str], watched: Watched
) -> None:
    watched.allow("status of 404")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = open_context(storage_state=logged_in, viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    for name, address in addresses.items():
        page.goto(stack.url + address)
        load_pictures(page)
        page.screenshot(path=SCREENSHOTS / f"{name}-phone.png", full_page=not name.startswith("sample"))
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= PHONE["width"], f"{name} is {wide} pixels wide"


def test_the_theme_follows_the_system_until_somebody_chooses(
    open_context: Open, logged_in: dict[str, object], stack: Stack
) -> None:
    page = open_context(storage_state=logged_in, color_scheme="dark").new_page()
    page.goto(f"{stack.url}/jobs")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(paper)
    assert dark != light
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(paper) == dark
    page.goto(f"{stack.url}/datasets")
    assert page.evaluate(paper) == dark


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    seen = []
    for _ in range(6):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("(({ id, name, textContent }) => name || textContent.trim() || id)(document.activeElement)")
        )
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen[-1]
    assert seen[:4] == ["New job", "status", "dataset", "name"]


def test_a_job_page_is_usable_within_a_second(page: Page, stack: Stack, finished_job: uuid.UUID) -> None:
    page.goto(f"{stack.url}/jobs")
    page.goto(f"{stack.url}/jobs/{finished_job}", wait_until="load")
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    assert timing <= 1000, f"{timing:.0f} ms"


def test_a_report_opens_without_a_server(
    open_context: Open, logged_in: dict[str, object], stack: Stack, finished_job: uuid.UUID, tmp_path: Path
) -> None:
    page = open_context(storage_state=logged_in, accept_downloads=True).new_page()
    page.goto(f"{stack.url}/jobs/{finished_job}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Report").click()
    report = tmp_path / "report.html"
    download.value.save_as(report)
    offline = open_context(offline=True).new_page()
    offline.goto(report.as_uri())
    expect(offline.get_by_role("heading", name="The finished one")).to_be_visible()
    expect(offline.locator("[data-told]")).to_contain_text("validation split")
    expect(offline.locator("h2").first).to_have_text("What did it rely on?")
    # Four maps of each class, the clusters' masks and their examples; then the chosen images, four pictures each.
    expect(offline.locator(".maps img")).to_have_count(8)
    assert offline.locator(".cluster > img").count() >= 1
    assert offline.locator(".examples img").count() >= 8
    assert offline.locator(".report-samples img").count() >= 8
    assert offline.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth)")
    side = "document.querySelector('.maps img').getBoundingClientRect()"
    assert offline.evaluate(f"[{side}.width, {side}.height].every((length) => length > 100)")
    # Small as they are, maps are enlarged smoothly and the digits by the pixel.
    smooth = "(selector) => getComputedStyle(document.querySelector(selector)).imageRendering"
    assert offline.evaluate(smooth, ".maps img") == "auto"
    assert offline.evaluate(smooth, ".examples img") == "pixelated"
    assert violations(offline) == []
    offline.screenshot(path=SCREENSHOTS / "report-light.png", full_page=True)
