"""Log lines are machine-readable and hide secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from persistence.logging import configure_logging
from persistence.settings import Settings

SECRET = "mt_" + "a1-_" * 10


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _configure(*, json_lines: bool = True, level: str = "INFO") -> None:
    settings = Settings(database_url=SecretStr("a"), redis_url=SecretStr("b"), log_level=level)
    configure_logging(settings, json=json_lines)


def test_our_lines_and_those_of_libraries_have_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()
    structlog.get_logger("ours").info("job_started", job_id="42")
    logging.getLogger("theirs").warning("careful: %s", "edge")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["level"], ours["job_id"], ours["logger"]) == ("job_started", "info", "42", "ours")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("careful: edge", "warning", "theirs")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("json_lines", [True, False])
def test_secrets_do_not_get_into_the_log(capsys: pytest.CaptureFixture[str], json_lines: bool) -> None:
    _configure(json_lines=json_lines)
    log = structlog.get_logger("ours")
    log.info("request", authorization=f"Bearer {SECRET}", detail=f"got {SECRET}.", Password="hunter2")
    log.info("connecting", url="redis://user:hunter2@host:6379/0")
    logging.getLogger("theirs").info("postgresql://postgres:hunter2@db/masktune with %s", SECRET)
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert SECRET not in written
    assert written.count("[hidden]") == 6


@pytest.mark.parametrize("json_lines", [True, False])
def test_secrets_inside_of_values_do_not_get_into_the_log(capsys: pytest.CaptureFixture[str], json_lines: bool) -> None:
    _configure(json_lines=json_lines)
    log = structlog.get_logger("ours")
    log.info("nested", request={"headers": {"Set-Cookie": "hunter2", "x": [f"a {SECRET}"]}, SECRET: (1, {SECRET})})
    log.info("raised", error=ValueError(f"no key {SECRET}"), body=SECRET.encode())
    log.info("deep", tree=[[[[[[[[[[SECRET]]]]]]]]]])
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert SECRET not in written
    assert written.count("[hidden]") == 6


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_traceback_tells_where_it_was_but_neither_values_nor_secrets(
    capsys: pytest.CaptureFixture[str], json_lines: bool
) -> None:
    _configure(json_lines=json_lines)
    parts = ["hunter", "2"]

    def fail() -> None:
        local = "".join(parts)
        raise RuntimeError(f"{len(local)} characters, {SECRET}")

    try:
        fail()
    except RuntimeError:
        structlog.get_logger("ours").exception("failed")
        logging.getLogger("theirs").exception("failed too")
    written = capsys.readouterr().err
    assert written.count("in fail") == 2
    assert written.count("7 characters, [hidden]") == 2
    assert "hunter2" not in written
    assert SECRET not in written


def test_the_level_is_obeyed_and_an_unknown_one_refused(capsys: pytest.CaptureFixture[str]) -> None:
    _configure(level="warning")
    structlog.get_logger("ours").info("quiet")
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="LOUD"):
        _configure(level="loud")


def test_an_exception_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    _configure()
    structlog.get_logger("ours").error("failed", exc_info=ZeroDivisionError())
    [line] = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]
