"""The table of results that the docs show is the one that the stored runs give."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.biased_mnist import tables

DOCS = Path(__file__).parents[2] / "docs"


def test_the_documented_table_is_made_from_the_stored_runs() -> None:
    lines = (DOCS / "results" / "biased-mnist.jsonl").read_text(encoding="utf-8").splitlines()
    assert tables(json.loads(line) for line in lines) in (DOCS / "results.md").read_text(encoding="utf-8")
