"""Signs of progress, and their absence."""

from __future__ import annotations

import time
from pathlib import Path

from worker.pulse import Pulse, Silence, last_sign


def test_a_sign_says_where_the_work_stood(tmp_path: Path) -> None:
    assert last_sign(tmp_path) is None
    Pulse(tmp_path).beat("step 3 of 10", "masking")
    sign = last_sign(tmp_path)
    assert sign is not None
    assert (sign.number, sign.stage, sign.where) == (1, "masking", "step 3 of 10")
    assert sign.at.endswith("Z")


def test_many_signs_at_once_cost_one_write(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path)
    for step in range(1000):
        pulse.beat(f"step {step}")
        time.sleep(0.001)
    sign = last_sign(tmp_path)
    assert sign is not None
    assert 1 < sign.number < 1000
    pulse.beat("begun", "masking")
    sign = last_sign(tmp_path)
    assert sign is not None
    assert sign.stage == "masking", "a new stage is always told"


def test_what_is_no_sign_is_none(tmp_path: Path) -> None:
    (tmp_path / "pulse.json").write_text("{}", encoding="utf-8")
    assert last_sign(tmp_path) is None


def test_silence_ends_with_a_new_sign_and_counts_only_what_was_watched() -> None:
    signs = iter("aaab")
    silence = Silence(lambda: next(signs), longest_gap=0.1)
    time.sleep(0.5)
    assert silence.seconds() == 0.1, "the watcher itself was away for the rest"
    assert silence.seconds(counts=False) == 0.1
    assert silence.seconds() == 0.0
