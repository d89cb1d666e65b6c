"""The images install exact versions, of everything, that fit the lower bounds."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.make_constraints import head, images_python
from tests.deploy.compose import DOCKERFILES, ROOT

PINNED = {
    canonicalize_name(requirement.name): requirement
    for line in (ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
DIRECT = [Requirement(line) for extra in ("core", "persistence", "api", "worker") for line in EXTRAS[extra]]


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_every_dependency_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    """If one is missing: `make constraints`."""
    if requirement.name == "masktune-service":
        return
    assert requirement.specifier, "a lower bound is needed"
    pinned = PINNED[canonicalize_name(requirement.name)]
    [version] = [specifier.version for specifier in pinned.specifier]
    assert requirement.specifier.contains(version)


def test_every_pin_is_exact_and_from_the_plain_index() -> None:
    for requirement in PINNED.values():
        [specifier] = requirement.specifier
        assert specifier.operator == "=="
        assert "+" not in specifier.version
        assert requirement.url is None


def test_they_were_resolved_for_the_images_python() -> None:
    """If not: `make constraints`."""
    first = (ROOT / "deploy" / "constraints.txt").read_text(encoding="utf-8").splitlines(keepends=True)[0]
    assert first == head(images_python())


def test_images_of_different_pythons_are_refused(tmp_path: Path) -> None:
    for name, version in (("api", "3.13"), ("worker", "3.14")):
        (tmp_path / f"{name}.Dockerfile").write_text(f"FROM python:{version}-slim-trixie AS build\nRUN true\n")
    with pytest.raises(ValueError, match=r"3\.13, 3\.14"):
        images_python(tmp_path)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_the_images_install_under_the_constraints(dockerfile: str) -> None:
    text = (ROOT / "deploy" / dockerfile).read_text(encoding="utf-8")
    assert "COPY deploy/constraints.txt" in text
    assert "pip install --constraint constraints.txt" in text
