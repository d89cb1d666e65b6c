"""The text of charts can be read, however narrow they are."""

from __future__ import annotations

import uuid

import pytest
from playwright.sync_api import Page

from tests.web.browser.stack import Stack
from tests.web.browser.test_look import PHONE

TEXTS = """(charts) => charts.map((chart) => {
  const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
  return scale * parseFloat(getComputedStyle(chart.querySelector("text")).fontSize);
})"""
OVERLAPPING = """(charts) => charts.flatMap((chart) => {
  const texts = [...chart.querySelectorAll(".tick, .axis-name")];
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([text, box], number) => boxes.slice(number + 1)
    .filter(([, other]) => box.right > other.left + 1 && other.right > box.left + 1)
    .filter(([, other]) => box.bottom > other.top + 4 && other.bottom > box.top + 4)
    .map(([under]) => `${text} on ${under}`));
})"""


@pytest.mark.parametrize("width", [PHONE["width"], 560, 768, 1440])
def test_the_text_of_charts_can_be_read_at_every_width(
    page: Page, stack: Stack, finished_job: uuid.UUID, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{stack.url}/jobs/{finished_job}")
    charts = page.locator(".charts svg.chart")
    heights = charts.evaluate_all(TEXTS)
    assert len(heights) >= 3
    assert all(10.9 <= height <= 20 for height in heights), heights
    assert charts.evaluate_all(OVERLAPPING) == []
