"""`masktune demo`, as a newcomer runs it: everything real, from the archive to the contact sheet."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.command import masktune, wait_until_nothing_runs


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="masktune-demo-") as folder:
        yield Path(folder).resolve() / "home"


def test_the_demo_repairs_the_model_proves_it_and_leaves_nothing_running(home: Path) -> None:
    done = masktune(home, "demo", "--json", "--seed", "1", timeout=240.0)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["seed"] == 1
    assert set(outcome) == {"job_id", "seed", "checkpoint_sha256", "erm", "masktune"}
    assert 0.3 <= outcome["erm"]["biased"]["accuracy"] <= 0.7
    for split in ("original", "biased"):
        assert outcome["masktune"][split]["accuracy"] >= 0.95
        assert 0.0 <= outcome["masktune"][split]["worst_group"] <= outcome["masktune"][split]["accuracy"]

    folder = home / "demo" / "seed-1"
    checkpoint = (folder / "masktune.safetensors").read_bytes()
    assert hashlib.sha256(checkpoint).hexdigest() == outcome["checkpoint_sha256"]
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert len(sheet.getcolors(maxcolors=2**24) or []) > 1000

    said = done.stderr
    for words in ("Accuracy before and after", "worst group", "the same", str(folder), "is stopped"):
        assert words in said
    wait_until_nothing_runs(home)
