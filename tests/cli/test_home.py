"""The data folder and how a service is found through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.database import running_services, services_are_starting, try_lock
from cli.errors import UsageError
from cli.home import Home, RunningServices, resolve_home, write_private
from cli.options import connect


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for variable in ("MASKTUNE_URL", "MASKTUNE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MASKTUNE_HOME", str(tmp_path / "home"))
    return resolve_home()


SERVICES = RunningServices(url="http://127.0.0.1:1", pid=1, database_url="postgresql://", command="up", pids={})


def test_the_data_folder_is_the_given_one_then_the_environments_then_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MASKTUNE_HOME", raising=False)
    assert resolve_home().path == tmp_path / ".masktune"
    monkeypatch.setenv("MASKTUNE_HOME", "elsewhere")
    assert resolve_home().path == tmp_path / "elsewhere"
    assert resolve_home(Path("named")).path == tmp_path / "named"


def test_a_file_in_the_data_folders_place_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="MASKTUNE_HOME"):
        resolve_home(tmp_path / "file")


def test_one_process_at_a_time_has_the_data_folder(home: Home) -> None:
    lock = try_lock(home)
    assert lock is not None
    assert try_lock(home) is None
    lock.close()
    again = try_lock(home)
    assert again is not None
    again.close()


def test_services_run_only_while_their_process_holds_the_lock(home: Home) -> None:
    lock = try_lock(home)
    assert lock is not None
    assert services_are_starting(home)
    home.write_services(SERVICES)
    assert running_services(home) == SERVICES
    assert not services_are_starting(home)
    lock.close()
    assert running_services(home) is None


def test_a_half_written_services_file_is_as_good_as_none(home: Home) -> None:
    home.path.mkdir()
    home.services.write_text('{"url": "http', encoding="utf-8")
    assert home.read_services() is None


def test_secrets_are_readable_by_their_owner_only(home: Home) -> None:
    write_private(home.key, {"api_key": "mt_secret"})
    assert home.key.stat().st_mode & 0o777 == 0o600
    assert home.read_key() == "mt_secret"


def test_without_a_service_the_error_says_how_to_get_one(home: Home) -> None:
    with pytest.raises(UsageError, match="masktune up"):
        connect(None, None)


def test_the_data_folders_key_is_not_sent_to_another_service(home: Home) -> None:
    home.path.mkdir()
    home.write_services(SERVICES)
    write_private(home.key, {"api_key": "mt_secret"})
    with connect(None, None) as client:
        assert client.http.headers["Authorization"] == "Bearer mt_secret"
    with pytest.raises(UsageError, match="no API key for http://elsewhere"):
        connect("http://elsewhere", None)
