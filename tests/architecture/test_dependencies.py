"""Each package runs on the dependencies of its own extra, which is what its image installs."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.sources import FOLDERS, ROOT, files, imports, shown

EXTRA_OF = {
    "masktune_core": "core",
    "persistence": "persistence",
    "api": "api",
    "worker": "worker",
    "migrations": "api",
}
# What a dependency brings along and documents as its own surface.
BROUGHT_BY = {
    "starlette": "fastapi",
    "anyio": "fastapi",
    "kombu": "celery",
    "redis": "celery",
    "botocore": "boto3",
    "s3transfer": "boto3",
    "pydantic-core": "pydantic",
    "typing-extensions": "pydantic",
    "markupsafe": "jinja2",
}
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(extra: str) -> Iterator[str]:
    """Names of the distributions that an extra installs, its own extras opened."""
    for requirement in (*METADATA["dependencies"], *METADATA["optional-dependencies"][extra]):
        name = normal(re.split(r"[\[<>=!~; ]", requirement)[0])
        inner = re.match(r"masktune-service\[([\w,]+)\]", requirement)
        if inner:
            for part in inner[1].split(","):
                yield from requirements(part)
        else:
            yield name


def outside(package: str) -> dict[str, set[str]]:
    """Third-party distributions that a package imports, each with the files that do."""
    distributions = packages_distributions()
    found: dict[str, set[str]] = {}
    for path in files(package):
        for name in imports(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in FOLDERS or top == "_typeshed":
                continue
            for distribution in distributions.get(top, [top]):
                found.setdefault(normal(distribution), set()).add(shown(path))
    return found


@pytest.mark.parametrize("package", EXTRA_OF)
def test_a_package_imports_only_what_its_extra_installs(package: str) -> None:
    installed = set(requirements(EXTRA_OF[package]))
    foreign = {
        name: sorted(where)
        for name, where in outside(package).items()
        if name not in installed and BROUGHT_BY.get(name) not in installed
    }
    assert foreign == {}


def test_the_api_installs_no_torch() -> None:
    assert not {"torch", "torchvision", "timm"} & set(requirements("api"))
