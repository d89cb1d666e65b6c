"""Whatever is sent, the service answers in time and as its document says, and never with an error of its own.

One small round; `make fuzz` runs more of them, see `fuzz_rounds`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.fuzz_rounds import Round, Stopped, fuzz_chains, fuzz_operations, run_rounds
from tests.api.fuzzing import Fuzzer, Tally
from tests.api.seeds import Seeds

SEED = 1


@pytest.fixture
def fuzzer(settings: Settings, make_key: Callable[..., str], key: str) -> Iterator[Fuzzer]:
    with serving(settings.model_copy(update={"rate_limit_requests": 0})) as (url, _):
        yield Fuzzer(url, lambda: make_key("acme", scope="admin"))


@pytest.mark.timeout(120)
def test_every_operation_answers_as_documented(fuzzer: Fuzzer, seeds: Seeds) -> None:
    failures = fuzz_operations(fuzzer, seeds, SEED)
    assert failures == [], "\n\n".join(failures)
    assert fuzzer.tally.server_errors == 0
    assert len(fuzzer.tally.operations) > 50


@pytest.mark.timeout(120)
def test_chains_of_operations_answer_as_documented(fuzzer: Fuzzer, seeds: Seeds) -> None:
    """Each request uses what an earlier answer named: made, listed, changed, deleted, and used after that."""
    seeds.finished_job()
    seeds.dataset()
    assert fuzz_chains(fuzzer, SEED) == []
    assert fuzzer.tally.requests > 12
    assert fuzzer.tally.server_errors == 0


def sending(sent: list[int], stop: threading.Event | None = None, *, stops: int = -1, fails: int = -1) -> Round:
    """A round that sends one request, and notes its seed."""

    def one(number: int, tally: Tally, stopped: Stopped) -> list[str]:
        sent.append(number)
        tally.statuses[200] += 1
        tally.operations["GET /v1/jobs"] += 1
        if stop is not None and number == stops:
            stop.set()
        return ["it broke"] if number == fails else []

    return one


def test_a_run_that_is_told_to_stop_counts_what_it_sent_and_the_next_one_goes_on(tmp_path: Path) -> None:
    results, seeds, stop = tmp_path / "build" / "fuzz.json", list[int](), threading.Event()
    assert run_rounds(sending(seeds, stop, stops=3), results, seconds=60, stop=stop).requests == 3
    told = json.loads(results.read_text())
    assert (told["rounds"], told["next_seed"], told["requests"]) == (2, 3, 3), "the third round was cut off"
    stop.clear()
    run_rounds(sending(seeds, stop, stops=4), results, seconds=60, stop=stop)
    told = json.loads(results.read_text())
    assert (told["rounds"], told["next_seed"], told["requests"]) == (3, 4, 5)
    assert (told["statuses"], told["operations"], told["server_errors"]) == ({"200": 5}, {"GET /v1/jobs": 5}, 0)
    assert seeds == [1, 2, 3, 3, 4]


def test_a_run_ends_with_its_time_or_with_a_failure_that_names_its_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, seeds = tmp_path / "fuzz.json", list[int]()
    assert run_rounds(sending(seeds), results, seconds=0, stop=threading.Event()).requests == 0
    with pytest.raises(AssertionError, match=r"MASKTUNE_FUZZ_SEED=6:\s+it broke"):
        run_rounds(sending(seeds, fails=6), results, seconds=60, stop=threading.Event(), first=5)
    assert seeds == [5, 6]
    assert json.loads(results.read_text())["next_seed"] == 6
    assert "2 requests to 1 operations, 0 answered with 5xx (200: 2)" in capsys.readouterr().out
