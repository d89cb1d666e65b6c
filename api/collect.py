"""Housekeeping on the command line: `python -m api.collect [--dry-run]`.

Works on the database and the object store of the settings; safe beside a running service.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from persistence.database import make_engine, session_factory
from persistence.housekeeping import NO_GRACE, collect, graces_of, preview
from persistence.settings import get_settings
from persistence.store import store_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print what went as JSON, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m api.collect", description="Take away what nobody needs.")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument(
        "--idle",
        action="store_true",
        help="nothing else runs: no grace for objects without a reference and for leftovers of writers that died",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    chosen = parser.parse_args(arguments)
    settings = get_settings()
    engine = make_engine(settings.database_url.get_secret_value())
    graces = NO_GRACE if chosen.idle else graces_of(settings)
    try:
        work = preview if chosen.dry_run else collect
        found = asdict(work(session_factory(engine), store_of(settings), settings, graces))
    finally:
        engine.dispose()
    text = json.dumps(found) if chosen.json else "\n".join(f"{name:<14}{value}" for name, value in found.items())
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
