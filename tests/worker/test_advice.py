"""Whoever reads why a job failed also reads what to do."""

from __future__ import annotations

import re

from persistence.advice import ADVICE
from tests.architecture.sources import files

_GIVEN = re.compile(r"(?:Failure|Shortage)\(\s*\"([a-z_]+)\"|\"code\": \"([a-z_]+)\"")
_OF_INTAKE = re.compile(r"^intake_")
_OF_UPLOADS = {"intake", "verifying"}
"""What modules about uploads are called: their reasons are told with the upload, not with a job."""


def test_every_code_that_a_trainer_or_its_supervisor_gives_has_advice() -> None:
    given = {
        first or second
        for path in files("worker")
        for first, second in _GIVEN.findall(path.read_text(encoding="utf-8"))
        if not any(word in path.name for word in _OF_UPLOADS)
    }
    assert {"trainer_stalled", "trainer_killed", "out_of_disk", "wall_clock_exceeded"} <= given
    assert {code for code in given if not _OF_INTAKE.match(code)} - set(ADVICE) == set()
