"""A small storm in every test run; `make chaos` makes larger ones."""

from __future__ import annotations

import pytest

from tests.chaos.stack import Stack
from tests.chaos.storm import storm

# The others die with the machine here, and one by one in larger storms.
VICTIMS = ("trainer", "beat", "redis", "postgres", "machine")


@pytest.mark.timeout(600)
def test_a_job_ends_bit_for_bit_as_undisturbed_whoever_is_killed_meanwhile(stack: Stack, dataset: str) -> None:
    report = storm(stack, dataset, seed=4, count=len(VICTIMS), epochs=15, victims=VICTIMS)
    assert report.kills == dict.fromkeys(sorted(VICTIMS), 1)
    assert report.events_followed == report.events > 20
    assert report.events_lost == 0
