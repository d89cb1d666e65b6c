"""A storm: random processes killed at random moments while jobs run, then the audit.

`python -m tests.chaos.storm --seed 1 --count 50` (also `make chaos SEED=1 COUNT=50`) prints what happened as JSON, and
ends with status 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from masktune_core.makers.biased_mnist import make_biased_mnist
from persistence import events
from persistence.database import is_unavailable, transaction
from persistence.tables import Event, Job
from persistence.transitions import FINISHED
from tests.chaos import client
from tests.chaos.audit import outcome, require_nothing_left, require_same, require_whole_log
from tests.chaos.stack import Stack

VICTIMS = ("trainer", "worker", "intake", "control", "beat", "api", "redis", "postgres", "machine")
_END_SECONDS = 300.0
_KILLS_PER_JOB = 12  # a job has at most 20 attempts, and a lost answer to a claim costs one as well
_Kills = dict[str, int]


@dataclass(slots=True)
class Report:
    """What the storm did and what came of it."""

    seed: int
    kills: _Kills = field(default_factory=dict)
    jobs: int = 0
    attempts: int = 0
    events: int = 0
    events_followed: int = 0
    events_lost: int = 0
    longest_takeover_seconds: float = 0.0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {"kills_in_all": sum(self.kills.values()), **asdict(self)}


def storm(
    stack: Stack, dataset: str, *, seed: int, count: int, epochs: int, victims: Sequence[str] = VICTIMS
) -> Report:
    """Run jobs on a data set of a running service until `count` kills have been made, and audit each.

    Raises `AssertionError` where something is off.
    """
    dice, began, report = random.Random(seed), time.monotonic(), Report(seed)
    made: Counter[str] = Counter()
    deck: list[str] = []
    config = {"erm": {"epochs": epochs}, "limits": {"max_attempts": 20}}
    calm = client.submit(stack, dataset, config, f"calm-{seed}")
    assert client.wait_over(stack, calm, _END_SECONDS)["status"] == "succeeded"
    undisturbed = outcome(stack.sessions, calm)
    while sum(made.values()) < count:
        report.jobs += 1
        job_id = client.submit(stack, dataset, config, f"storm-{seed}-{report.jobs}")
        follower = client.Follower(stack, job_id)
        left = min(_KILLS_PER_JOB, count - sum(made.values()))
        made.update(_harass(stack, job_id, dice, left, deck, victims))
        job = client.wait_over(stack, job_id, _END_SECONDS)
        assert job["status"] == "succeeded", job
        require_same(outcome(stack.sessions, job_id), undisturbed)
        logged = require_whole_log(stack.sessions, job_id)
        seen = follower.finish()
        report.attempts += job["attempt"]
        report.events += logged
        report.events_followed += len(seen)
        report.events_lost += len(set(range(1, logged + 1)) - set(seen))
        assert seen == list(range(1, logged + 1)), "the stream brought every event once, in order"
        report.longest_takeover_seconds = max(report.longest_takeover_seconds, _longest_takeover(stack, job_id))
    require_nothing_left(stack)
    report.kills, report.seconds = dict(sorted(made.items())), round(time.monotonic() - began, 1)
    return report


def _harass(
    stack: Stack, job_id: str, dice: random.Random, count: int, deck: list[str], victims: Sequence[str]
) -> Counter[str]:
    made: Counter[str] = Counter()
    while made.total() < count:
        time.sleep(dice.uniform(0.2, 3.0))
        if _is_over(stack, job_id):
            break
        if not deck:  # Every process comes equally often, in any order.
            deck.extend(dice.sample(list(victims), len(victims)))
        pause = dice.uniform(0.0, 2.0)
        if _strike(stack, deck[-1], pause):
            made[deck.pop()] += 1
    return made


def _strike(stack: Stack, victim: str, pause: float) -> bool:
    """Kill it, wait, start it again. False when there was nothing to kill."""
    strikes: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "postgres": (stack.crash_postgres, stack.restart_postgres),
        "redis": (stack.crash_redis, stack.restart_redis),
        "machine": (stack.crash_machine, stack.restart_machine),
        **{process.name: (process.kill, process.start) for process in stack.processes},
    }
    if victim == "trainer":
        trainer = stack.trainer()
        if trainer is None:
            return False
        try:
            trainer.kill()
        except psutil.NoSuchProcess:
            return False
        return True
    kill, start = strikes[victim]
    kill()
    time.sleep(pause)
    start()
    return True


def _is_over(stack: Stack, job_id: str) -> bool:
    try:
        with transaction(stack.sessions) as session:
            return session.scalar(select(Job.status).where(Job.id == job_id)) in FINISHED
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        return False


def _longest_takeover(stack: Stack, job_id: str) -> float:
    """Seconds from an attempt's last sign of life to the next attempt's beginning, the longest in the log."""
    with transaction(stack.sessions) as session:
        log: Sequence[Event] = events.page(session, session.get_one(Job, job_id).id, 0, 100_000).rows
    longest = 0.0
    for before, after in pairwise(log):
        if after.type in ("job.retrying", "job.started") and before.type != "job.queued":
            start = next(event for event in log if event.seq >= after.seq and event.type == "job.started")
            last = before if before.type != "job.retrying" else log[max(0, before.seq - 2)]
            longest = max(longest, (start.created_at - last.created_at).total_seconds())
    return round(longest, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run, print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="decides whom it hits and when")
    parser.add_argument("--count", type=int, default=20, help="kills in all")
    parser.add_argument("--epochs", type=int, default=30, help="ERM epochs of each job")
    parser.add_argument("--images", type=int, default=600, help="training images")
    parser.add_argument("--only", action="append", choices=VICTIMS, help="hit only this; may be repeated")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="masktune-chaos-") as folder, Stack(Path(folder)) as stack:
        client.wait_ready(stack)
        archive = make_biased_mnist(Path(folder) / "digits.zip", train=chosen.images, val=100, test=100)
        dataset = client.upload_dataset(stack, archive)
        report = storm(
            stack, dataset, seed=chosen.seed, count=chosen.count, epochs=chosen.epochs, victims=chosen.only or VICTIMS
        )
    sys.stdout.write(json.dumps(report.as_json(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
