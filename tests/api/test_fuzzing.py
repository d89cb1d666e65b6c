"""Whatever is sent, the service answers in time and as its document says, and never with an error of its own.

`make fuzz` runs the same for longer: MASKTUNE_FUZZ_EXAMPLES requests to each operation.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis.generation.stateful import run_state_machine_as_test

from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.fuzzing import Case, Fuzzer
from tests.api.seeds import Seeds
from tests.api.test_isolation import Belongings, operation_at

EXAMPLES = int(os.environ.get("MASKTUNE_FUZZ_EXAMPLES", "10"))
_BATCH = 10
SEED = int(os.environ.get("MASKTUNE_FUZZ_SEED", "1"))


@pytest.fixture
def fuzzer(settings: Settings, make_key: Callable[..., str], key: str) -> Iterator[Fuzzer]:
    with serving(settings.model_copy(update={"rate_limit_requests": 0})) as (url, _):
        yield Fuzzer(url, lambda: make_key("acme", scope="admin"))


@pytest.mark.timeout(0 if "MASKTUNE_FUZZ_EXAMPLES" in os.environ else 120)
def test_every_operation_answers_as_documented(
    fuzzer: Fuzzer, seeds: Seeds, capsys: pytest.CaptureFixture[str]
) -> None:
    belongings = Belongings(seeds)

    def names(path: str) -> Mapping[str, Any]:
        return belongings.values(operation_at(path)) if "{" in path else {}

    failures = {}
    for label, fuzz in fuzzer.each_operation(names, examples=EXAMPLES, seed_value=SEED):
        try:
            fuzz()
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - collected, so that one failure does not hide the others
            failures[label] = "\n".join([str(error), *map(str, getattr(error, "exceptions", ()))])
    with capsys.disabled():
        sys.stdout.write(f"\nfuzzed: {fuzzer.tally}\n")
    assert failures == {}, "\n\n".join(f"{label}:\n{text}" for label, text in failures.items())
    assert fuzzer.tally.server_errors == 0
    assert len(fuzzer.tally.operations) > 50


@pytest.mark.timeout(0 if "MASKTUNE_FUZZ_EXAMPLES" in os.environ else 120)
def test_chains_of_operations_answer_as_documented(
    fuzzer: Fuzzer, seeds: Seeds, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each request uses what an earlier answer named: made, listed, changed, deleted, and used after that."""
    seeds.finished_job()
    seeds.dataset()
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

    random.seed(SEED)
    for batch in range(0, EXAMPLES, _BATCH):
        # What is sent next depends on what was answered, and so differs where hypothesis wants it to be the same: then
        # the batch ends early. Failures of the service are noted above, whatever hypothesis makes of them.
        with contextlib.suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(
                seed(SEED + batch)(Chains),
                settings=settings(
                    max_examples=_BATCH,
                    stateful_step_count=12,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    verbosity=Verbosity.quiet,
                    suppress_health_check=list(HealthCheck),
                ),
            )
    with capsys.disabled():
        sys.stdout.write(f"\nchained: {fuzzer.tally}\n")
    assert failures == []
    assert fuzzer.tally.requests > 12
    assert fuzzer.tally.server_errors == 0
