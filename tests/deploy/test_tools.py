"""Docker's own reading of the files, and hadolint's, on a machine that has these tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from persistence.settings import Settings
from tests.deploy.compose import COMPOSE, DOCKERFILES, EXAMPLE, OURS, ROOT, example_environment


def compose_command() -> list[str] | None:
    """`docker-compose` or `docker compose`, whichever is here."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    return None


COMMAND = compose_command()
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
needs_compose = pytest.mark.skipif(COMMAND is None, reason="neither docker-compose nor docker compose is installed")
needs_hadolint = pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")


def compose(*arguments: str, env_file: str = str(EXAMPLE)) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    command = [*(COMMAND or []), "--file", str(COMPOSE), "--env-file", env_file, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)


def resolved(*arguments: str) -> dict[str, Any]:
    result = compose(*arguments, "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@needs_compose
def test_the_example_resolves_to_the_gpu_worker() -> None:
    assert set(resolved()["services"]) == {"postgres", "redis", *OURS} - {"worker-cpu"}


@needs_compose
def test_the_cpu_profile_takes_the_gpu_workers_place() -> None:
    assert set(resolved("--profile", "cpu")["services"]) == {"postgres", "redis", *OURS} - {"worker-gpu"}


@needs_compose
@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "REDIS_PASSWORD"])
def test_nothing_resolves_without_a_secret_and_the_message_names_it(missing: str, tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("".join(f"{k}={v}\n" for k, v in example_environment().items() if k != missing), "utf-8")
    result = compose("config", env_file=str(env_file))
    assert result.returncode != 0
    assert missing in result.stderr


@needs_compose
def test_a_setting_without_a_value_is_left_out_of_the_container() -> None:
    environment = resolved()["services"]["api"]["environment"]
    assert environment["AWS_ACCESS_KEY_ID"] is None
    assert environment["MASKTUNE_STORAGE_URL"] == "file:///srv/objects"


@needs_compose
def test_the_gpu_worker_is_given_every_gpu() -> None:
    (device,) = resolved()["services"]["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}


@needs_hadolint
@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_finds_nothing(dockerfile: object) -> None:
    result = subprocess.run([str(HADOLINT), str(dockerfile)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_compose
def test_the_service_refuses_to_start_with_the_examples_placeholders() -> None:
    environment = resolved()["services"]["api"]["environment"]
    with pytest.raises(ValidationError, match="placeholder"):
        Settings(database_url=environment["MASKTUNE_DATABASE_URL"], redis_url=environment["MASKTUNE_REDIS_URL"])
