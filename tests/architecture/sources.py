"""The project's own Python files, as text and as syntax trees, for the tests that judge the whole of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "cli", "masktune_core", "migrations", "persistence", "worker")
FOLDERS = (*PACKAGES, "tests", "benchmarks")


def files(*folders: str) -> list[Path]:
    """Python files below these top-level folders, sorted, caches left out."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if "__pycache__" not in path.parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path: Path) -> str:
    """The path as a person would name it."""
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Absolute dotted names that a file imports anywhere, those for type checking only included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes_read(*folders: str, without: frozenset[str] = frozenset()) -> set[str]:
    """Every name that stands after a dot where it is read, in these folders; `without` lists files to leave out."""
    return {
        node.attr
        for path in files(*folders)
        if shown(path) not in without
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
