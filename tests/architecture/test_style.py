"""One concept a file, named after it, and small enough to read in one go."""

from __future__ import annotations

import ast

from tests.architecture.sources import FOLDERS, PACKAGES, files, shown, tree

LONGEST = 320
NAMELESS = {"utils.py", "helpers.py", "common.py", "misc.py"}


def test_no_file_is_longer_than_one_can_read_in_one_go() -> None:
    lengths = {
        shown(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in files(*FOLDERS)
        if "versions" not in path.parts  # a migration is written once, by Alembic, and read from top to bottom
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [shown(path) for path in files(*FOLDERS) if path.name in NAMELESS] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [shown(path) for path in files(*FOLDERS) if tree(path).body and not ast.get_docstring(tree(path))]
    assert silent == []


def test_every_public_class_and_function_of_a_package_says_what_it_is_for() -> None:
    silent = [
        f"{shown(path)}: {node.name}"
        for path in files(*PACKAGES)
        if "versions" not in path.parts  # a migration's upgrade and downgrade are named by Alembic
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not _is_error(node)
    ]
    assert silent == []


def _is_error(node: ast.AST) -> bool:
    """Errors may be explained together, in the tree at the top of their file."""
    return isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Name) and base.id.endswith(("Error", "Exception", "Conflict", "NotFound"))
        for base in node.bases
    )
