"""The embedded servers: real, private to their folder, and none the worse for being killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from sqlalchemy import NullPool, create_engine, text

from cli.embedded import EmbeddedPostgres, EmbeddedRedis, FolderInUse, NoSystemUser, ServerStartFailed
from cli.embedded.postgres import _system_user, find_postgres


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="masktune-embedded-") as folder:
        yield Path(folder)


def _query(url: str, statement: str) -> object:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(statement))
        return result.scalar() if result.returns_rows else None


def test_a_second_start_finds_what_the_first_left(home: Path) -> None:
    with EmbeddedPostgres(home, durable=False) as postgres:
        assert str(_query(postgres.url, "SHOW server_version")).startswith("18.")
        _query(postgres.url, "CREATE TABLE kept (value int)")
        _query(postgres.url, "INSERT INTO kept VALUES (42)")
    with EmbeddedPostgres(home) as postgres:
        assert _query(postgres.url, "SELECT value FROM kept") == 42


def test_servers_listen_on_no_port_let_no_other_user_in_and_postgres_is_not_root(home: Path) -> None:
    with EmbeddedPostgres(home, durable=False) as postgres, EmbeddedRedis(home) as server:
        assert psutil.Process(_pids(home)[0]).uids().effective != 0
        assert _query(postgres.url, "SHOW listen_addresses") == ""
        with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("appendonly") == {"appendonly": "no"}
        for folder in ("run/postgres", "run/redis", "postgres"):
            assert (home / folder).stat().st_mode & 0o077 == 0


def test_root_without_a_user_for_postgres_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.embedded.postgres._SYSTEM_USER", "no-such-user")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoSystemUser, match="MASKTUNE_DATABASE_URL"):
        _system_user()


def test_instances_in_two_folders_do_not_meet(home: Path) -> None:
    with (
        EmbeddedPostgres(home / "one", durable=False) as one,
        EmbeddedPostgres(home / "two", durable=False) as two,
        EmbeddedRedis(home / "one") as red,
        EmbeddedRedis(home / "two") as blue,
    ):
        assert one.url != two.url
        assert red.url != blue.url
        _query(one.url, "CREATE TABLE mine (value int)")
        assert _query(two.url, "SELECT to_regclass('mine')") is None
        with (
            redis.Redis(unix_socket_path=str(red.socket_path)) as first,
            redis.Redis(unix_socket_path=str(blue.socket_path)) as second,
        ):
            first.set("key", "value")
            assert second.get("key") is None


def test_a_folder_has_one_owner_and_the_owner_is_not_disturbed(home: Path) -> None:
    with EmbeddedPostgres(home, durable=False) as postgres, EmbeddedRedis(home) as server:
        with pytest.raises(FolderInUse, match="already run by another process"):
            EmbeddedPostgres(home).start()
        with pytest.raises(FolderInUse):
            EmbeddedRedis(home).start()
        assert _query(postgres.url, "SELECT 1") == 1
        with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
            assert client.ping()


def test_a_long_path_works_and_leaves_no_link_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = home / "t"
    short.mkdir()
    short.chmod(0o755)
    home.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    long = home / ("a folder with a long name ü " * 6).strip() / ("deeper " * 10).strip()
    with EmbeddedPostgres(long, durable=False) as postgres, EmbeddedRedis(long) as server:
        assert _query(postgres.url, "SELECT 1") == 1
        with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
            assert client.ping()
        assert (long / "run" / "redis" / "redis.sock").is_socket()
        assert len(str(server.socket_path).encode()) <= 100
        assert len(list(short.iterdir())) == 2
    assert list(short.iterdir()) == []


_OWNER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with Ctrl-C ignored
from pathlib import Path
from cli.embedded import EmbeddedPostgres, EmbeddedRedis
home = Path(sys.argv[1])
postgres, redis = EmbeddedPostgres(home), EmbeddedRedis(home)
print(postgres.start(), redis.start(), sep="\\n", flush=True)
time.sleep(600)
"""


def _owner(home: Path) -> tuple[subprocess.Popen[str], str]:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(home)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    assert owner.stdout.readline().startswith("redis+socket:///")
    return owner, url


def _pids(home: Path) -> tuple[int, int]:
    postgres = int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    return postgres, int((home / "run" / "redis" / "redis.pid").read_text())


@pytest.mark.parametrize("victims", ["owner", "owner and servers"])
def test_a_killed_run_is_recovered_with_its_data(home: Path, victims: str) -> None:
    owner, url = _owner(home)
    _query(url, "CREATE TABLE kept AS SELECT 42 AS value")
    pids = _pids(home)
    owner.kill()
    owner.communicate()
    if victims == "owner and servers":
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    with EmbeddedPostgres(home) as postgres, EmbeddedRedis(home) as server:
        assert _query(postgres.url, "SELECT value FROM kept") == 42
        with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
            assert client.ping()
        assert set(_pids(home)).isdisjoint(pids)
        assert not any(_runs(pid) for pid in pids), "the orphans are ended, not left beside"


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_pid_that_now_belongs_to_another_program_is_let_alone(home: Path) -> None:
    with EmbeddedPostgres(home, durable=False), EmbeddedRedis(home):
        stale = (home / "postgres" / "postmaster.pid").read_text().splitlines()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (home / "postgres" / "postmaster.pid").write_text("\n".join([str(bystander.pid), *stale[1:]]))
        (home / "run" / "redis" / "redis.pid").write_text(str(bystander.pid))
        with EmbeddedPostgres(home, durable=False) as postgres, EmbeddedRedis(home):
            assert _query(postgres.url, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_an_interrupted_or_failed_start_can_be_repeated(home: Path) -> None:
    unfinished = home / "postgres.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(home, durable=False)
    server.stop()
    assert server.start() == server.start()
    assert not unfinished.exists()
    server.stop()
    server.stop()
    configuration = home / "postgres" / "postgresql.conf"
    configuration.write_text("no_such_setting = 1\n")
    with pytest.raises(ServerStartFailed, match="no_such_setting"):
        server.start()
    configuration.write_text("")
    with server:
        assert _query(server.url, "SELECT 1") == 1


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(home: Path) -> None:
    owner, url = _owner(home)
    try:
        os.kill(owner.pid, signal.SIGINT)
        owner.communicate(timeout=30)
    finally:
        owner.kill()
        owner.communicate()
    assert not (home / "postgres" / "postmaster.pid").exists(), "the owner stopped them at its exit, in order"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url.replace("+psycopg", ""))


def test_the_module_runs_a_command_beside_throwaway_servers() -> None:
    script = (
        "import os; print(os.environ['MASKTUNE_DATABASE_URL'], os.environ['MASKTUNE_REDIS_URL']); raise SystemExit(3)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "cli.embedded", sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert done.stdout.startswith("postgresql+psycopg://")
    assert time.monotonic() - started < 60


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become somebody else")
def test_everything_works_for_an_ordinary_user_too(home: Path) -> None:
    find_postgres()
    home.chmod(0o777)
    script = (
        "import sys; from pathlib import Path; from cli.embedded import EmbeddedPostgres, EmbeddedRedis\n"
        "home = Path(sys.argv[1]) / 'own'; home.mkdir()\n"
        "with EmbeddedPostgres(home) as postgres, EmbeddedRedis(home) as redis: print(postgres.url, redis.url)\n"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", script, str(home)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert (home / "own" / "postgres").stat().st_uid == 65534
