"""What our two images promise, read from their Dockerfiles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.compose import DOCKERFILES, ROOT


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(keyword, rest) of every instruction, continuation lines joined, comments dropped."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (keyword.upper(), rest.strip())
        for keyword, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def final_stage(dockerfile: Path) -> list[tuple[str, str]]:
    steps = instructions(dockerfile)
    last = max(position for position, (keyword, _) in enumerate(steps) if keyword == "FROM")
    return steps[last:]


def test_there_is_an_image_for_the_api_and_one_for_the_workers() -> None:
    assert [path.name for path in DOCKERFILES] == ["api.Dockerfile", "worker.Dockerfile"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_every_base_image_names_its_version_and_distribution(dockerfile: Path) -> None:
    bases = [rest.split(" ")[0] for keyword, rest in instructions(dockerfile) if keyword == "FROM"]
    assert bases
    assert all(re.fullmatch(r"python:3\.\d+(\.\d+)?-slim-\w+", base) for base in bases)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_the_final_stage_runs_as_a_numbered_user_and_is_checked(dockerfile: Path) -> None:
    steps = dict(final_stage(dockerfile))
    user, group = steps["USER"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert "CMD" in steps["HEALTHCHECK"]
    assert steps["CMD"].startswith("[")  # the exec form: signals reach the process itself


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_the_folders_that_volumes_are_mounted_on_belong_to_the_user(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    assert "install -d -o masktune -g masktune /var/lib/masktune /srv/objects" in text


def test_the_api_image_is_built_without_torch_and_proves_it() -> None:
    text = (ROOT / "deploy" / "api.Dockerfile").read_text(encoding="utf-8")
    assert "'.[api]'" in text
    assert "find_spec('torch') is None" in text


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_the_build_copies_only_what_the_ignore_file_lets_through(dockerfile: Path) -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    let_through = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    for keyword, rest in instructions(dockerfile):
        if keyword in ("COPY", "ADD") and "--from" not in rest:
            *sources, _ = rest.split()
            assert {source.rstrip("/") for source in sources} <= let_through
            assert all((ROOT / source).exists() for source in sources)
