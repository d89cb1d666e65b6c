"""Running the migrations from Python, without an ini file.

One database is migrated by one process at a time: the others wait on an advisory lock and then find nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import NullPool, create_engine, text

_LOCK: Final = 0x6D61736B  # "mask"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the database up to `revision`."""
    with _config(database_url) as config:
        command.upgrade(config, revision)


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take the database back to `revision`; `base` leaves no table of ours."""
    with _config(database_url) as config:
        command.downgrade(config, revision)


def differences(database_url: str) -> str | None:
    """What the models have and the migrated database lacks, or the reverse; None when they match."""
    with _config(database_url) as config:
        try:
            command.check(config)
        except CommandError as error:
            return str(error)
    return None


def make_revision(database_url: str, message: str) -> None:
    """Write a new migration file from the difference between the models and the database."""
    with _config(database_url) as config:
        count = len(list(ScriptDirectory.from_config(config).walk_revisions()))
        command.revision(config, message=message, autogenerate=True, rev_id=f"{count + 1:04d}")


@contextmanager
def _config(database_url: str) -> Iterator[Config]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        connection.commit()
        config.attributes["connection"] = connection
        try:
            yield config
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()
