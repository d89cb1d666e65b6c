"""Fixtures for every test: real PostgreSQL, real Redis, a real object store."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.database", "tests.fixtures.services"]

# The same examples in every run, and no deadline: a busy machine is not a defect.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")

_TOGETHER = "tests/web/browser/"
"""One service, one browser and one finished job serve all tests in there."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes run the tests, each takes whole files: much is made once for a file."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(_TOGETHER if file.startswith(_TOGETHER) else file))
