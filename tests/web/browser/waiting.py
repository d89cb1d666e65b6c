"""Waiting for what only a script in the page can tell."""

from __future__ import annotations

import time
from typing import Final

from playwright.sync_api import Page

_SECONDS: Final = 30.0


def wait_for(page: Page, expression: str) -> None:
    """Return once the JavaScript expression is true.

    Unlike `Page.wait_for_function`, which evaluates strings in the page, where its content security policy forbids
    that, unless they are true at once.
    """
    deadline = time.monotonic() + _SECONDS
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(50)
