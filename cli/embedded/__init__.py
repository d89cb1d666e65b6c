"""A real PostgreSQL and a real Redis on unix sockets inside the data folder, for running with nothing installed.

Both keep what they need under `home`, never listen on a network port, hold a lock so that one folder has one owner, and
recover on the next start from a run that was killed.
"""

from cli.embedded.errors import EmbeddedError, FolderInUse, NoSystemUser, ServerNotFound, ServerStartFailed
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis

__all__ = [
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedRedis",
    "FolderInUse",
    "NoSystemUser",
    "ServerNotFound",
    "ServerStartFailed",
]
