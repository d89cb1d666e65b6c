"""`python -m cli.embedded COMMAND…`: run a command with a throwaway PostgreSQL and Redis in its environment."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis


def main(command: list[str]) -> int:
    """Return the command's exit status. MASKTUNE_DATABASE_URL, MASKTUNE_REDIS_URL and MASKTUNE_HOME are set for it."""
    if not command:
        sys.stderr.write("usage: python -m cli.embedded COMMAND [ARGUMENT…]\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="masktune-") as folder:
        home = Path(folder)
        with EmbeddedPostgres(home, durable=False) as postgres, EmbeddedRedis(home) as redis:
            environment = {
                **os.environ,
                "MASKTUNE_DATABASE_URL": postgres.url,
                "MASKTUNE_REDIS_URL": redis.url,
                "MASKTUNE_HOME": folder,
            }
            return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
