"""A small storm in every test run; `make chaos` makes larger ones."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.chaos.storm import VICTIMS, storm


@pytest.mark.timeout(600)
def test_a_job_ends_bit_for_bit_as_undisturbed_whoever_is_killed_meanwhile() -> None:
    # Not pytest's folder, whose parents a database server that dropped root may not enter.
    with tempfile.TemporaryDirectory(prefix="masktune-chaos-") as folder:
        report = storm(Path(folder), seed=4, count=len(VICTIMS), epochs=15, images=600)
    assert report.kills == dict.fromkeys(sorted(VICTIMS), 1)
    assert report.events_followed == report.events > 20
    assert report.events_lost == 0
