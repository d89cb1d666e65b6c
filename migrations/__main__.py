"""`python -m migrations upgrade|downgrade|check|revision`, on the database in MASKTUNE_DATABASE_URL."""

from __future__ import annotations

import argparse
import os
import sys

from migrations import runner


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 0, or 1 when `check` found a difference, or 2 when the variable is missing."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("upgrade", help="apply what is missing").add_argument("revision", nargs="?", default="head")
    commands.add_parser("downgrade", help="undo").add_argument("revision", help="a revision, -1, or base")
    commands.add_parser("check", help="say whether the migrated database matches the models")
    commands.add_parser("revision", help="write a migration from the difference").add_argument("message")
    options = parser.parse_args(arguments)

    database_url = os.environ.get("MASKTUNE_DATABASE_URL")
    if not database_url:
        sys.stderr.write("MASKTUNE_DATABASE_URL is not set: set it to postgresql+psycopg://…\n")
        return 2
    if options.command == "upgrade":
        runner.upgrade(database_url, options.revision)
    elif options.command == "downgrade":
        runner.downgrade(database_url, options.revision)
    elif options.command == "revision":
        runner.make_revision(database_url, options.message)
    else:
        difference = runner.differences(database_url)
        if difference:
            sys.stderr.write(f"the models and the migrations differ: {difference}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
