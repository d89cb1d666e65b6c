"""The production compose file, parsed, for the tests that judge it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))

OURS = ("migrate", "api", "worker-gpu", "worker-cpu", "worker-intake", "worker-control", "beat")
ALL = ("postgres", "redis", *OURS)


@cache
def services() -> dict[str, dict[str, Any]]:
    """Every service by name, YAML anchors and merges resolved, variables not."""
    document = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def example_environment() -> dict[str, str]:
    """What `.env.example` sets (its commented lines set nothing)."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def example_names() -> set[str]:
    """Every variable that `.env.example` mentions, set or commented out."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    candidates = (line.removeprefix("#").split("=", 1)[0] for line in lines if "=" in line)
    return {name for name in candidates if name.isidentifier()}
