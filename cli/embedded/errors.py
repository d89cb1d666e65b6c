"""What can go wrong with an embedded server.

EmbeddedError
├── ServerNotFound      no binary of the server on this machine
├── NoSystemUser        we are root, and there is no ordinary user for PostgreSQL to run as
├── FolderInUse         another live process runs the server in this folder
└── ServerStartFailed   the server ended or did not answer; carries the end of its log
"""

from __future__ import annotations

from pathlib import Path


class EmbeddedError(Exception):
    """Root of the tree."""


class ServerNotFound(EmbeddedError):
    """The message says what to install."""


class NoSystemUser(EmbeddedError):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"PostgreSQL does not run as root, and the user {name} cannot be made ({reason}): "
            "start as an ordinary user, or set MASKTUNE_DATABASE_URL to a running server"
        )


class FolderInUse(EmbeddedError):
    def __init__(self, server: str, home: Path) -> None:
        super().__init__(
            f"{server} in {home} is already run by another process: stop it, or set MASKTUNE_HOME elsewhere"
        )


class ServerStartFailed(EmbeddedError):
    def __init__(self, server: str, reason: str, log: Path) -> None:
        tail = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
        super().__init__("\n".join([f"{server} did not start: {reason}; its log is {log}", *tail]))
