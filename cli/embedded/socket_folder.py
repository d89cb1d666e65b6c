"""A folder for a unix socket whose path is short enough to bind."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

MAX_SOCKET_PATH = 100
"""Bytes. `sun_path` holds 108 on Linux and 104 on macOS, with the final zero."""


class SocketFolder:
    """`folder` itself where the socket's path fits, else a short symbolic link to it in the temporary folder.

    The socket file lies inside `folder` either way, so `folder`'s permissions protect it.
    """

    def __init__(self, folder: Path, socket_name: str) -> None:
        self._link_parent: Path | None = None
        self.path = folder
        if _fits(folder / socket_name):
            return
        for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 — mkdtemp makes an unguessable folder in it
            candidate = Path(tempfile.mkdtemp(prefix="masktune-", dir=parent))
            candidate.chmod(0o711)  # a server that dropped root must pass through
            if _fits(candidate / "s" / socket_name):
                self._link_parent = candidate
                self.path = candidate / "s"
                self.path.symlink_to(folder, target_is_directory=True)
                return
            candidate.rmdir()
        raise OSError(f"no folder for a socket named {socket_name} with a path under {MAX_SOCKET_PATH} bytes")

    def remove(self) -> None:
        """Take the link away; the folder it pointed to stays."""
        if self._link_parent is not None:
            shutil.rmtree(self._link_parent, ignore_errors=True)
            self._link_parent = None


def _fits(path: Path) -> bool:
    return len(str(path).encode()) <= MAX_SOCKET_PATH
