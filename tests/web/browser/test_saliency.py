"""The browser of images and what a job relied on, in a real browser over a job that ran for real."""

from __future__ import annotations

import csv
import re
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from sqlalchemy import text

from persistence.database import transaction
from tests.web.browser.conftest import SCREENSHOTS
from tests.web.browser.stack import Stack
from tests.web.browser.test_look import PHONE, violations
from tests.web.browser.waiting import wait_for

Open = Callable[..., BrowserContext]


@pytest.fixture
def address(stack: Stack, finished_job: uuid.UUID) -> str:
    return f"{stack.url}/jobs/{finished_job}/samples"


def shown(page: Page) -> list[int]:
    """Numbers of the images in the document, in its order, which must be that of the eye."""
    cells: list[list[int]] = page.eval_on_selector_all(
        ".cell",
        "(cells) => cells.map((cell) => [+cell.dataset.number, +cell.querySelector('button').dataset.index])",
    )
    places = [place for place, _ in cells]
    assert places == sorted(places)
    return [index for _, index in cells]


def total(page: Page) -> int:
    """How many images fit; the first of them are there then."""
    expect(page.locator("#sample-count")).to_have_text(re.compile(r"^[\d,]+ images?$"))
    expect(page.locator("#sample-grid")).not_to_have_attribute("aria-busy", "true")
    return int((page.locator("#sample-count").text_content() or "").split()[0].replace(",", ""))


def test_filters_and_sorts_agree_with_the_api_and_stand_in_the_address(
    page: Page, stack: Stack, finished_job: uuid.UUID, address: str
) -> None:
    page.goto(address)
    everything = total(page)
    page.get_by_label("Split").select_option("test:original")
    page.get_by_label("Class").select_option("1")
    page.get_by_label("Sort by").select_option("heatmap_distance")
    page.get_by_label("Order").select_option("desc")
    expect(page).to_have_url(re.compile(r"split=test%3Aoriginal&label=1&sort=heatmap_distance&order=desc$"))
    query: dict[str, str | int] = {
        "split": "test:original",
        "label": 1,
        "sort": "heatmap_distance",
        "order": "desc",
        "limit": 30,
    }
    answer = stack.client.get(f"/v1/jobs/{finished_job}/samples", params=query).json()
    expect(page.locator(".cell").first.locator("button")).to_have_attribute(
        "data-index", str(answer["data"][0]["index"])
    )
    assert total(page) < everything
    assert shown(page)[:20] == [sample["index"] for sample in answer["data"][:20]]
    page.reload()
    expect(page.get_by_label("Split")).to_have_value("test:original")
    expect(page.locator(".cell").first.locator("button")).to_have_attribute(
        "data-index", str(answer["data"][0]["index"])
    )
    page.go_back()
    expect(page.get_by_label("Order")).to_have_value("asc")


def test_keys_switch_the_view_only_while_the_focus_is_on_it_or_on_an_image(page: Page, address: str) -> None:
    page.goto(f"{address}?split=train")
    image = page.locator(".tile img").first
    expect(image).to_have_attribute("src", re.compile("view=original"))
    page.keyboard.press("2")
    page.get_by_label("Class").focus()
    page.keyboard.press("2")
    expect(page).to_have_url(f"{address}?split=train")
    page.locator(".tile").first.focus()
    for key, wanted in (("2", "view=heatmap&model=before"), ("3", "view=mask"), ("5", "view=heatmap&model=after")):
        page.keyboard.press(key)
        expect(image).to_have_attribute("src", re.compile(re.escape(wanted)))
    page.keyboard.press("6")
    expect(page.locator(".cell").first.locator("img")).to_have_count(5)
    expect(page).to_have_url(re.compile("view=all"))
    page.locator("#sample-views input:checked").focus()
    page.keyboard.press("3")
    expect(image).to_have_attribute("src", re.compile("view=mask"))
    expect(page.locator("#sample-views input:checked")).to_be_focused()


def test_scrolling_keeps_few_images_in_the_document_and_misses_none(page: Page, address: str) -> None:
    page.goto(f"{address}?split=train")
    wanted, seen = total(page), set(shown(page))
    most = 0
    for _ in range(400):
        page.evaluate("window.scrollBy(0, innerHeight)")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        now = shown(page)
        most, seen = max(most, len(now)), seen | set(now)
        if len(seen) == wanted:
            break
    assert len(seen) == wanted
    assert most < 200
    # And back up again, a little at a time, so that tiles come in before those that are there.
    for _ in range(12):
        page.evaluate("window.scrollBy(0, -innerHeight / 3)")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shown(page)


def test_an_image_is_gone_through_by_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}?split=test:biased&sort=masked_fraction&order=desc")
    total(page)
    first, second = shown(page)[:2]
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tile").nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    title = page.locator("#sample-title")
    expect(title).to_contain_text(f"Image {first} ")
    page.keyboard.press("ArrowRight")
    expect(title).to_contain_text(f"Image {second} ")
    expect(page).to_have_url(re.compile(f"image={second}$"))
    expect(page.locator(".probabilities tbody tr")).to_have_count(2)
    page.get_by_label("Heatmap over the image").fill("0")
    expect(page.locator("img.overlay").first).to_have_css("opacity", "0")
    page.keyboard.press("Escape")
    expect(page.locator(f'.tile[data-index="{second}"]')).to_be_focused()
    page.goto(f"{address}?image={first}")
    expect(title).to_contain_text(f"Image {first} ")


def test_a_selection_that_is_empty_says_so(page: Page, address: str) -> None:
    page.goto(f"{address}?min=0&max=1")
    expect(page.locator("#sample-note")).to_have_text("No image fits these filters. Clear one of them.")
    page.get_by_role("button", name="Clear").click()
    assert total(page) > 0


def test_the_selection_can_be_taken_away(page: Page, address: str, tmp_path: Path) -> None:
    page.goto(f"{address}?split=test:original&label=0")
    count = total(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    table = tmp_path / "samples.csv"
    download.value.save_as(table)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    assert {(row["split"], row["label"]) for row in rows} == {("test:original", "0")}
    with page.expect_download() as download:
        page.get_by_role("link", name="FiftyOne").click()
    folder = tmp_path / "samples.zip"
    download.value.save_as(folder)
    with zipfile.ZipFile(folder) as archive:
        names = archive.namelist()
    # Each with two heatmaps and its mask.
    assert sorted(Path(name).parent.as_posix() for name in names) == sorted(
        [".", "."] + ["data", "fields/heatmap_before", "fields/heatmap_after", "fields/mask"] * count
    )


def test_picked_images_outlive_the_filters_and_are_taken_away_alone(
    page: Page, stack: Stack, finished_job: uuid.UUID, address: str, tmp_path: Path
) -> None:
    page.goto(f"{address}?split=train&sort=masked_fraction&order=desc")
    everything = total(page)
    first, second, third = shown(page)[:3]
    bar = page.get_by_role("group", name="Picked images")
    expect(bar).to_be_hidden()
    page.get_by_label(f"Pick image {second}", exact=True).check()
    page.locator(f'.tile[data-index="{first}"]').focus()
    page.keyboard.press("x")
    page.locator(f'.tile[data-index="{third}"]').click()
    expect(page.locator("#sample-title")).to_contain_text(f"Image {third} ")
    page.keyboard.press("x")
    expect(page.get_by_label("Pick x")).to_be_checked()
    page.keyboard.press("Escape")
    expect(bar).to_contain_text("3 images picked")
    page.get_by_label("Split").select_option("test:original")
    expect(page.locator("#sample-count")).not_to_have_text(f"{everything:,} images")
    total(page)
    other = shown(page)[0]
    page.get_by_label(f"Pick image {other}", exact=True).check()
    page.get_by_label(f"Pick image {other}", exact=True).uncheck()
    page.reload()
    expect(bar).to_contain_text("3 images picked")
    chosen = sorted((first, second, third))
    with page.expect_download() as download:
        bar.get_by_role("link", name="CSV").click()
    table = tmp_path / "picked.csv"
    download.value.save_as(table)
    with table.open(encoding="utf-8", newline="") as file:
        assert [int(row["index"]) for row in csv.DictReader(file)] == chosen
    with page.expect_download() as download:
        bar.get_by_role("link", name="FiftyOne").click()
    folder = tmp_path / "picked.zip"
    download.value.save_as(folder)
    with zipfile.ZipFile(folder) as archive:
        images = [Path(name).stem for name in archive.namelist() if name.startswith("data/")]
    assert images == [f"{index:08d}" for index in chosen]
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Show only these").click()
    expect(page.locator("#sample-count")).to_have_text("3 images")
    assert sorted(shown(page)) == chosen
    page.get_by_role("button", name="Forget them").click()
    expect(bar).to_be_hidden()
    expect(page.locator("#sample-count")).not_to_have_text("3 images")


def test_the_list_begins_where_one_asks_and_knows_both_confidences(
    page: Page, stack: Stack, finished_job: uuid.UUID, address: str
) -> None:
    page.goto(address)
    everything = total(page)
    begin = page.get_by_role("spinbutton", name="Begin at")
    begin.fill("500")
    begin.press("Enter")
    expect(page.locator(".cell").first.locator("button")).to_have_attribute("data-index", "500")
    expect(page.locator("#sample-count")).to_have_text(f"{everything:,} images, shown from there on")
    expect(page).to_have_url(re.compile(r"start=500$"))
    page.get_by_label("Sort by").select_option("masked_fraction")
    expect(begin).to_have_value("")
    begin.fill("2.5")
    begin.press("Enter")
    page.get_by_label("Confidence before at least").fill("70")
    page.get_by_label("Confidence after at most").fill("99.9")
    page.get_by_label("Confidence after at most").press("Enter")
    expect(page).to_have_url(re.compile("min_before=70&max=99.9&start=2.5"))
    query: dict[str, str | float] = {
        "sort": "masked_fraction",
        "start": 0.025,
        "min_confidence_before": 0.7,
        "max_confidence": 0.999,
        "limit": 20,
    }
    answer = stack.client.get(f"/v1/jobs/{finished_job}/samples", params=query).json()["data"]
    assert answer
    assert all(row["confidence_before"] >= 0.7 and row["masked_fraction"] >= 0.025 for row in answer)
    expect(page.locator(".cell").first.locator("button")).to_have_attribute("data-index", str(answer[0]["index"]))
    assert shown(page)[: len(answer)] == [row["index"] for row in answer]


def test_what_it_relied_on_comes_first_and_leads_to_the_images(
    page: Page, stack: Stack, finished_job: uuid.UUID
) -> None:
    page.goto(f"{stack.url}/jobs/{finished_job}")
    expect(page.locator("main h2").first).to_have_text("What did it rely on?")
    page.locator(".examples a").first.click()
    expect(page.locator("#sample-dialog")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_of_the_images(
    open_context: Open, logged_in: dict[str, object], address: str, scheme: str
) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = open_context(storage_state=logged_in, color_scheme=scheme, reduced_motion="reduce").new_page()
    page.goto(address.replace("/samples", "/insight"), wait_until="networkidle")
    found = violations(page)
    page.screenshot(path=SCREENSHOTS / f"insight-{scheme}.png", full_page=True)
    page.goto(f"{address}?view=before", wait_until="networkidle")
    found += violations(page)
    for number in range(2):
        page.locator("[data-pick]").nth(number).check()
    page.screenshot(path=SCREENSHOTS / f"samples-{scheme}.png")
    page.locator(".tile").first.click()
    expect(page.locator("#sample-dialog")).to_be_visible()
    page.wait_for_load_state("networkidle")
    found += violations(page)
    page.screenshot(path=SCREENSHOTS / f"sample-{scheme}.png")
    assert found == []


def test_the_images_fit_a_phone(open_context: Open, logged_in: dict[str, object], address: str) -> None:
    page = open_context(storage_state=logged_in, viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    for place in (address, f"{address}?view=all", f"{address}?image=0", address.replace("/samples", "/insight")):
        page.goto(place, wait_until="networkidle")
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= PHONE["width"], f"{place} is {wide} pixels wide"
        if place == address:
            page.screenshot(path=SCREENSHOTS / "samples-phone.png")
    page.screenshot(path=SCREENSHOTS / "insight-phone.png", full_page=True)


def test_without_the_data_set_masks_and_maps_are_still_to_be_seen(
    open_context: Open, logged_in: dict[str, object], stack: Stack, finished_job: uuid.UUID
) -> None:
    orphan = stack.twin(finished_job, name="Without its images")
    with transaction(stack.sessions) as session:
        session.execute(text("update jobs set dataset_id = null where id = :id"), {"id": orphan})
    page = open_context(storage_state=logged_in, reduced_motion="reduce").new_page()
    # Any picture that is gone would be an error in the console, for which the test fails.
    page.goto(f"{stack.url}/jobs/{orphan}/samples?view=before", wait_until="networkidle")
    expect(page.get_by_text("The data set was deleted, and its images with it")).to_be_visible()
    expect(page.locator(".tile img").first).to_have_attribute("src", re.compile("view=mask"))
    page.locator(".tile").first.click()
    expect(page.locator("#sample-dialog")).to_be_visible()
    expect(page.locator("#sample-title")).to_have_text(re.compile("0-4|5-9"))  # not the number of its class
    expect(page.locator("#sample-dialog [data-picture]")).to_have_count(3)
    drawn = "[...document.querySelectorAll('#sample-dialog [data-picture]')].every((image) => image.naturalWidth)"
    wait_for(page, drawn)
    expect(page.locator("img.overlay").first).to_have_css("opacity", "1")
    expect(page.get_by_text("The image was deleted with its data set")).to_be_visible()
    assert violations(page) == []
    page.screenshot(path=SCREENSHOTS / "sample-without-data-set.png")
