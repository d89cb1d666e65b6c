"""Fixtures for every test: real PostgreSQL, real Redis, a real object store."""

from __future__ import annotations

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.database", "tests.fixtures.services"]
