"""Every error has a code of the catalogue, and the page about them is current."""

from __future__ import annotations

import re

from api.error_codes import page
from api.problems import PROBLEMS
from tests.architecture.sources import ROOT, files

_RAISED = re.compile(r"(?:ApiError|Conflict|invalid|problem_response)\(\s*(?:request,\s*)?\"([a-z_]+)\"")


def test_the_page_is_current() -> None:
    """If not: `python -m api.error_codes > docs/error-codes.md`."""
    assert (ROOT / "docs" / "error-codes.md").read_text(encoding="utf-8") == page()


def test_every_code_that_is_raised_is_in_the_catalogue() -> None:
    raised = {
        code: str(path)
        for package in ("api", "persistence")
        for path in files(package)
        for code in _RAISED.findall(path.read_text(encoding="utf-8"))
    }
    assert len(raised) > 30
    assert {code: path for code, path in raised.items() if code not in PROBLEMS} == {}
