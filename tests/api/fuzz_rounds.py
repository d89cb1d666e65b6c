"""Fuzzing in rounds, one seed after the other: `make fuzz`, or in the test run a single small round.

A round sends some requests to every operation, and then chains of requests. What was sent and answered is written to
`build/fuzz.json` after every round and when the run is told to stop, so that it counts however the run ends; the next
run goes on at the next seed. `MASKTUNE_FUZZ_SECONDS` bounds a run, `MASKTUNE_FUZZ_SEED` chooses where it begins, and
`MASKTUNE_FUZZ_EXAMPLES` how much each operation gets in a round.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis.generation.stateful import run_state_machine_as_test
from sqlalchemy.orm import Session, sessionmaker

from persistence import tenants
from persistence.database import transaction
from persistence.settings import Settings
from persistence.store import ObjectStore
from tests.api.conftest import serving
from tests.api.fuzzing import Case, Fuzzer, Tally
from tests.api.seeds import Seeds
from tests.api.test_isolation import Belongings, operation_at

EXAMPLES: Final = int(os.environ.get("MASKTUNE_FUZZ_EXAMPLES", "10"))
SECONDS: Final = float(os.environ.get("MASKTUNE_FUZZ_SECONDS", "600"))
RESULTS: Final = Path(__file__).parents[2] / "build" / "fuzz.json"

Stopped = Callable[[], bool]
Round = Callable[[int, Tally, Stopped], list[str]]
"""(seed, where to count, whether to stop) → what was not as it should be."""


def fuzz_operations(fuzzer: Fuzzer, seeds: Seeds, number: int, stopped: Stopped = lambda: False) -> list[str]:
    """`EXAMPLES` requests to each operation; what was not as it should be."""
    belongings = Belongings(seeds)

    def names(path: str) -> Mapping[str, Any]:
        return belongings.values(operation_at(path)) if "{" in path else {}

    failures = []
    for label, fuzz in fuzzer.each_operation(names, examples=EXAMPLES, seed_value=number):
        if stopped():
            break
        try:
            fuzz()
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - collected, so that one failure does not hide the others
            failures.append("\n".join([f"{label}:", str(error), *map(str, getattr(error, "exceptions", ()))]))
    return failures


def fuzz_chains(fuzzer: Fuzzer, number: int) -> list[str]:
    """Chains of requests, each of which uses what an earlier answer named; what was not as it should be."""
    failures: list[str] = []

    class Chains(fuzzer.schema.as_state_machine()):  # type: ignore[misc]  # schemathesis makes the class as it runs
        def validate_response(self, response: Any, case: Case, **_: Any) -> None:
            """Checked where it is sent."""

        def call(self, case: Case, **_: Any) -> Any:
            try:
                return fuzzer.send(case)
            except (Exception, BaseExceptionGroup) as error:
                failures.append(f"{case.operation.label}: {error}")
                raise

    random.seed(number)
    # What is sent next depends on what was answered, and so differs where hypothesis wants it to be the same: then the
    # chains end early. Failures of the service are noted above, whatever hypothesis makes of them.
    with contextlib.suppress(FlakyStrategyDefinition):
        run_state_machine_as_test(
            seed(number)(Chains),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=12,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                verbosity=Verbosity.quiet,
                suppress_health_check=list(HealthCheck),
            ),
        )
    return failures


def run_rounds(one: Round, results: Path, *, seconds: float, stop: threading.Event, first: int | None = None) -> Tally:
    """Rounds until the time is over, `stop` is set or something fails; returns what this run sent.

    Raises `AssertionError` with what failed, and the seed that shows it again.
    """
    told = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {"rounds": 0, "next_seed": 1}
    before, rounds = Tally.from_json(told), int(told["rounds"])
    number = int(told["next_seed"]) if first is None else first
    tally, until = Tally(), time.monotonic() + seconds

    def stopped() -> bool:
        return stop.is_set() or time.monotonic() >= until

    failures: list[str] = []
    while not stopped() and not failures:
        try:
            failures = one(number, tally, stopped)
            if not stopped() and not failures:
                rounds, number = rounds + 1, number + 1
        finally:
            in_all = {"rounds": rounds, "next_seed": number, **(before + tally).as_json()}
            results.parent.mkdir(parents=True, exist_ok=True)
            part = results.with_suffix(".part")
            part.write_text(json.dumps(in_all, indent=2) + "\n", encoding="utf-8")
            part.replace(results)
    sys.stdout.write(f"\nfuzzed now: {tally}\nin all, {rounds} rounds: {before + tally}\n")
    assert failures == [], f"with MASKTUNE_FUZZ_SEED={number}:\n\n" + "\n\n".join(failures)
    return tally


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Set by SIGTERM or Ctrl-C: what was sent shall count."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Not collected by name: `make fuzz` names this file.
@pytest.mark.timeout(0)
def test_rounds_of_fuzzing_find_nothing(
    settings: Settings,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    make_key: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = os.environ.get("MASKTUNE_FUZZ_SEED")
    with serving(settings.model_copy(update={"rate_limit_requests": 0})) as (url, _), stop_on_signal() as stop:

        def one(number: int, tally: Tally, stopped: Stopped) -> list[str]:
            name = f"fuzz-{number}"  # a tenant of its own, so that no quota of the round before is used up
            fuzzer = Fuzzer(url, lambda: make_key(name, scope="admin"), tally)
            with transaction(sessions) as session:
                seeds = Seeds(sessions, store, tenants.get_or_create(session, name).id)
            failures = fuzz_operations(fuzzer, seeds, number, stopped)
            if not stopped():
                failures += fuzz_chains(fuzzer, number)
            return failures

        with capsys.disabled():
            tally = run_rounds(one, RESULTS, seconds=SECONDS, stop=stop, first=None if first is None else int(first))
    assert tally.server_errors == 0
