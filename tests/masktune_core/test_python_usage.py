"""What the documentation shows, and what docstrings show, is true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

USAGE = Path(__file__).parents[2] / "docs" / "python-usage.md"


def test_the_worked_example_runs_as_written() -> None:
    found = doctest.testfile(str(USAGE), module_relative=False, optionflags=doctest.REPORT_NDIFF)
    assert found.attempted > 25
    assert found.failed == 0


@pytest.mark.parametrize("name", ["randomness", "optimizers", "evaluation", "selective"])
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"masktune_core.{name}"))
    assert found.attempted > 0
    assert found.failed == 0
