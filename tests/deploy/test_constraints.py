"""The images install exact versions, of everything, that fit the lower bounds."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_the_images_install_under_the_constraints(dockerfile: str) -> None:
    text = (ROOT / "deploy" / dockerfile).read_text(encoding="utf-8")
    assert "COPY deploy/constraints.txt" in text
    assert "pip install --constraint constraints.txt" in text
