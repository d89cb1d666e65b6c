"""The migrations and the models describe the same tables, up and down."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import create_engine, inspect

from migrations import runner
from persistence.tables import Base


def _tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


def test_migrations_make_exactly_the_models(empty_database_url: str) -> None:
    runner.upgrade(empty_database_url)
    assert _tables(empty_database_url) == set(Base.metadata.tables)
    assert runner.differences(empty_database_url) is None


def test_migrations_go_down_to_nothing_and_up_again(empty_database_url: str) -> None:
    runner.upgrade(empty_database_url)
    runner.downgrade(empty_database_url)
    assert _tables(empty_database_url) == set()
    runner.upgrade(empty_database_url)
    assert runner.differences(empty_database_url) is None


def test_an_unmigrated_database_differs(empty_database_url: str) -> None:
    assert runner.differences(empty_database_url)


def test_processes_that_migrate_at_once_do_not_collide(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(_command, empty_database_url, "upgrade") for _ in range(4)]:
            assert future.result() == 0
    assert _command(empty_database_url, "check") == 0


def _command(url: str, *arguments: str) -> int:
    command = [sys.executable, "-W", "error", "-m", "migrations", *arguments]
    environment = os.environ | {"MASKTUNE_DATABASE_URL": url}
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode
