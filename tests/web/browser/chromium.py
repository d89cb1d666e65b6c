"""Chromium for the browser tests: find one, or install one. `python -m tests.web.browser.chromium` does so.

A missing browser is an error, never a skipped test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

VARIABLE: Final = "MASKTUNE_BROWSER"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING: Final = (
    "No Chromium is here for the browser tests. Install one with `make browser`, or name one that you have: "
    f"{VARIABLE}=/path/to/chromium make test"
)


def find() -> str | None:
    """The named browser, one on PATH, or the one that Playwright installed; None when there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        return named if shutil.which(named) else None
    on_path = next((found for name in NAMES if (found := shutil.which(name))), None)
    return on_path or _playwrights_own()


def install() -> str | None:
    """Find one, else have Playwright install one, else, as root on Debian, apt-get; None when all that fails."""
    for attempt in (None, _by_playwright, _by_apt):
        if attempt is not None:
            attempt()
        found = find()
        if found:
            return found
    return None


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _by_playwright() -> None:
    subprocess.run([sys.executable, "-m", "playwright", "install", "--with-deps", "chromium"], check=False)


def _by_apt() -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "--quiet"], check=False)
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium"], check=False)


def main() -> int:
    """Return the exit status."""
    found = find() if os.environ.get(VARIABLE) else install()
    sys.stdout.write(f"browser tests use {found}\n" if found else "")
    sys.stderr.write("" if found else MISSING + "\n")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
