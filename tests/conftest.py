"""Fixtures for every test: real PostgreSQL, real Redis, a real object store."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.database", "tests.fixtures.services"]

# The same examples in every run, and no deadline: a busy machine is not a defect.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")
