"""The documents speak of things that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from persistence.settings import Settings
from tests.architecture.sources import ROOT
from tests.deploy.compose import example_names

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Ours, but of no process: the address and key of the command line's client, and the folder of local data.
CLIENT_VARIABLES = {"MASKTUNE_URL", "MASKTUNE_API_KEY", "MASKTUNE_BROWSER"}


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    relative = [target.split("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in relative if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_file_of_ours_that_is_named_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(
        r"`((?:api|cli|masktune_core|migrations|persistence|worker|tests|benchmarks|deploy|docs)/[^`]*)`", text
    )
    paths = {name for name in named if not re.search(r"[<*\s]", name)}
    assert {path for path in paths if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_variable_that_is_named_is_read_by_something(document: Path) -> None:
    known = {f"MASKTUNE_{field.upper()}" for field in Settings.model_fields} | example_names() | CLIENT_VARIABLES
    assert set(re.findall(r"\bMASKTUNE_[A-Z0-9_]+\b", document.read_text(encoding="utf-8"))) <= known


def test_every_decision_is_in_the_index_and_in_the_order_of_its_number() -> None:
    files = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    index = re.findall(r"\]\((\d{4}-[^)]+)\)", (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8"))
    assert index == files
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))


def test_the_version_is_the_same_wherever_it_stands() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for name in ("docker-compose.yml", ".env.example"):
        found = re.findall(r"masktune-(?:api|worker):([\d.]+\d)", (ROOT / name).read_text(encoding="utf-8"))
        assert found
        assert set(found) == {version}, name


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
