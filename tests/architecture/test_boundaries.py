"""The arrows between the packages point the way the design draws them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.architecture.sources import PACKAGES, ROOT, files, imports, shown

# Never connected to: importing a process's module reads its settings and nothing else.
SETTINGS = {
    "MASKTUNE_DATABASE_URL": "postgresql+psycopg://nobody:nothing@127.0.0.1:1/none",
    "MASKTUNE_REDIS_URL": "redis://127.0.0.1:1/0",
}
HEAVY = ("torch", "torchvision", "timm")
LIGHT_PROCESSES = {
    "api.main": ["api.main"],
    "api.admin": ["api.admin"],
    "worker.app": ["worker.app"],
    "worker.supervisor": ["worker.supervisor"],
    "migrations": ["migrations"],
    "cli.main": ["cli.main"],
    "masktune_core": ["masktune_core", "masktune_core.config", "masktune_core.errors"],
    "persistence": [
        shown(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for path in files("persistence")
    ],
}


@pytest.mark.parametrize("modules", LIGHT_PROCESSES.values(), ids=LIGHT_PROCESSES.keys())
def test_a_process_that_must_stay_light_leaves_torch_unimported(modules: list[str]) -> None:
    program = f"""
import importlib, sys
for module in {modules!r}:
    importlib.import_module(module)
    found = [name for name in {HEAVY!r} if name in sys.modules]
    if found:
        sys.exit(f"{{module}} imports {{found}}")
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **SETTINGS},
    )
    assert result.returncode == 0, result.stderr


def test_the_import_contracts_hold() -> None:
    lint_imports = f"{os.path.dirname(sys.executable)}/lint-imports"  # noqa: PTH120 - resolve() would leave the venv
    result = subprocess.run([lint_imports], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_package_is_under_contract() -> None:
    # A new top-level package must be given its place in the design before it can be imported.
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == {*PACKAGES, "tests", "benchmarks"}


@pytest.mark.parametrize("package", ["api", "persistence"])
def test_the_web_side_sees_only_the_light_part_of_the_core(package: str) -> None:
    allowed = ("masktune_core.config", "masktune_core.errors")
    foreign = {
        f"{shown(path)}: {name}"
        for path in files(package)
        for name in imports(path)
        if name.split(".")[0] == "masktune_core" and not name.startswith(allowed)
    }
    assert not foreign


def test_the_core_knows_no_web_no_database_and_no_broker() -> None:
    foreign = {
        f"{shown(path)}: {name}"
        for path in files("masktune_core")
        for name in imports(path)
        if name.split(".")[0] in {"fastapi", "starlette", "sqlalchemy", "psycopg", "celery", "redis", "httpx", "typer"}
    }
    assert not foreign
