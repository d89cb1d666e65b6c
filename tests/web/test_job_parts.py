"""The timeline, the log and the curves of a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from xml.etree import ElementTree

import pytest

from api.web.jobs.curves import curves
from api.web.jobs.log import line
from api.web.jobs.timeline import Step, timeline
from masktune_core.config import JobConfig, resolve_config
from persistence.event_types import EventType
from persistence.stages import StageSpan
from persistence.tables import Event, Metric
from tests.web.results import metric

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def span(stage: str, start: float, stop: float | None, *, iteration: int = 0, attempt: int = 1) -> StageSpan:
    left = None if stop is None else START + timedelta(seconds=stop)
    return StageSpan(attempt, stage, iteration, START + timedelta(seconds=start), left)


def steps(*spans: StageSpan, seconds: float = 60, **options: Any) -> list[Step]:
    options = {"progress": None, "attempt": 1, "running": True, "config": JobConfig()} | options
    config, progress = options.pop("config"), options.pop("progress")
    return timeline(spans, config, progress, now=START + timedelta(seconds=seconds), **options)


def test_a_running_job_has_stages_behind_and_before_it() -> None:
    progress = {"stage": "training_erm", "iteration": 0, "epoch": 2, "epochs": 4, "step": 5, "steps": 10}
    found = steps(span("preparing", 0, 3), span("training_erm", 3, None), progress=progress)
    assert [step.state for step in found] == ["done", "now", "ahead", "ahead", "ahead"]
    assert (found[0].seconds, found[1].seconds, found[1].fraction) == (3, 57, 0.375)


def test_progress_of_another_stage_says_nothing_about_this_one() -> None:
    progress = {"stage": "preparing", "iteration": 0, "epoch": 1, "epochs": 1, "step": 1, "steps": 1}
    assert steps(span("training_erm", 0, None), progress=progress)[1].fraction is None


def test_rounds_are_numbered_and_a_checkpoint_skips_training() -> None:
    config = resolve_config(None, {"masking": {"iterations": 2}})
    found = steps(config=config, from_checkpoint=True)
    assert [step.name for step in found] == [
        "Preparing",
        "Masking 1",
        "Finetuning 1",
        "Masking 2",
        "Finetuning 2",
        "Evaluating",
    ]


def test_a_resumed_attempt_shows_what_an_earlier_one_finished() -> None:
    found = steps(
        span("training_erm", 0, None), span("masking", 30, None, iteration=1, attempt=2), attempt=2, running=True
    )
    assert [(step.stage, step.state) for step in found][1:3] == [("training_erm", "done"), ("masking", "now")]


def states(found: list[Step]) -> dict[str, str]:
    return {step.stage: step.state for step in found}


def test_a_stage_in_which_an_attempt_died_is_not_done() -> None:
    died = [span("preparing", 0, 3), span("training_erm", 3, None)]
    preparing = states(steps(*died, span("preparing", 60, None, attempt=2), attempt=2))
    assert preparing == {
        "preparing": "now",
        "training_erm": "ahead",
        "masking": "ahead",
        "finetuning": "ahead",
        "evaluating": "ahead",
    }
    # Before the second attempt entered anything, not even preparing is done.
    assert set(states(steps(*died, attempt=2)).values()) == {"ahead"}


def test_while_it_prepares_what_lies_before_the_furthest_stage_is_done() -> None:
    died = [span("preparing", 0, 3), span("training_erm", 3, 9), span("masking", 9, None, iteration=1)]
    found = states(steps(*died, span("preparing", 60, None, attempt=2), attempt=2))
    assert (found["training_erm"], found["masking"], found["finetuning"]) == ("done", "ahead", "ahead")


def test_a_stage_that_comes_again_is_ahead_although_an_earlier_attempt_was_in_it() -> None:
    died = [
        span("preparing", 0, 3),
        span("training_erm", 3, 9),
        span("masking", 9, 12, iteration=1),
        span("finetuning", 12, None, iteration=1),
    ]
    again = [span("preparing", 60, 63, attempt=2), span("masking", 63, None, iteration=1, attempt=2)]
    found = states(steps(*died, *again, attempt=2))
    assert found == {
        "preparing": "done",
        "training_erm": "done",
        "masking": "now",
        "finetuning": "ahead",
        "evaluating": "ahead",
    }


def test_a_finished_job_shows_no_stage_that_it_never_entered() -> None:
    """As one whose checkpoint was deleted since: it looks as if it should have trained."""
    ran = [
        span("preparing", 0, 3),
        span("masking", 3, 9, iteration=1),
        span("finetuning", 9, 12, iteration=1),
        span("evaluating", 12, 15),
    ]
    found = steps(*ran, running=False, succeeded=True)
    assert [(step.stage, step.state) for step in found] == [(each.stage, "done") for each in ran]
    # A failed one came past the training, and not to the last stages.
    failed = states(steps(*ran[:2], running=False))
    assert failed == {"preparing": "done", "masking": "stopped", "finetuning": "ahead", "evaluating": "ahead"}


@pytest.mark.parametrize("left_at", [None, 9])
def test_a_job_that_ended_early_shows_where(left_at: float | None) -> None:
    found = steps(span("preparing", 0, 3), span("training_erm", 3, left_at), running=False)
    assert [step.state for step in found] == ["done", "stopped", "ahead", "ahead", "ahead"]
    assert found[1].seconds == (left_at and left_at - 3)


EXAMPLES: dict[str, dict[str, Any]] = {
    "job.started": {"attempt": 1, "device": "cpu", "worker": "w"},
    "job.stage": {"stage": "masking", "iteration": 2},
    "job.epoch": {"epoch": 1, "epochs": 5, "loss": 0.5, "accuracy": 0.9, "val_accuracy": None, "seconds": 3.0},
    "job.warning": {"code": "c", "message": "odd"},
    "job.resumed": {"stage": "training_erm", "epoch": 2, "step": 7},
    "job.retrying": {"error": {"code": "child_crashed", "message": "the trainer died"}},
    "job.failed": {"error": {"code": "out_of_disk", "message": "no room"}},
    "job.artifact": {"name": "erm.safetensors", "size": 1024},
}


@pytest.mark.parametrize("kind", get_args(EventType))
def test_every_kind_of_event_is_told_in_words(kind: str) -> None:
    told = line(Event(seq=1, type=kind, data=EXAMPLES.get(kind, {}), attempt=1, created_at=START))
    assert not told.text.startswith("job.")
    assert "None" not in told.text or kind == "job.resume_requested"


def test_the_log_tells_the_particulars() -> None:
    def told(kind: str) -> str:
        return line(Event(seq=1, type=kind, data=EXAMPLES[kind], attempt=1, created_at=START)).text

    assert told("job.stage") == "Masking, round 2"
    assert told("job.epoch") == "Epoch 1 of 5: loss 0.5000, accuracy 90.0 %, 3.0 s"
    assert told("job.failed") == "Failed: no room (out_of_disk)"
    assert told("job.artifact") == "Stored erm.safetensors, 1.0 KiB"


def test_the_log_tells_of_a_wait_and_of_a_loss_that_was_no_number() -> None:
    def told(kind: str, **changes: object) -> str:
        return line(Event(seq=1, type=kind, data=EXAMPLES[kind] | changes, attempt=1, created_at=START)).text

    assert told("job.retrying") == "Tried again: the trainer died (child_crashed)"
    assert told("job.retrying", delay_seconds=40) == "Tried again in 40 s: the trainer died (child_crashed)"
    assert told("job.epoch", loss=None) == "Epoch 1 of 5: loss –, accuracy 90.0 %, 3.0 s"


def test_an_event_of_tomorrow_is_shown_as_it_is() -> None:
    told = line(Event(seq=1, type="job.moved", data={"to": "cuda:1"}, attempt=1, created_at=START))
    assert told.text == 'job.moved {"to": "cuda:1"}'


def test_finetuning_follows_the_last_epoch_that_was_trained() -> None:
    rows = [Metric(**metric("training_erm", epoch, "loss", 1 / epoch)) for epoch in (1, 2, 3)]
    rows.append(Metric(**metric("finetuning", 1, "loss", 0.5, iteration=1)))
    # Five epochs were planned; early stopping ended training after three.
    found = curves(rows, JobConfig(), from_checkpoint=False)
    assert "<title>training, 4: 0.5</title>" in found.loss
    assert "finetuning</text>" in found.loss
    assert "nothing to draw yet" in found.accuracy


@pytest.mark.parametrize(("epochs", "names"), [(2, ["finetuning 1", "finetuning 2"]), (60, ["1", "2"])])
def test_each_round_of_finetuning_is_marked(epochs: int, names: list[str]) -> None:
    """By its number alone where there is no room for more."""
    config = resolve_config(None, {"erm": {"epochs": epochs}, "masking": {"iterations": 2}, "finetune": {"epochs": 2}})
    rows = [Metric(**metric("training_erm", epoch, "loss", 0.5)) for epoch in range(1, epochs + 1)]
    rows += [Metric(**metric("finetuning", 1, "loss", 0.5, iteration=number)) for number in (1, 2)]
    chart = ElementTree.fromstring(curves(rows, config, from_checkpoint=False).loss)
    bands = [each for each in chart.findall("rect") if each.get("class") == "band"]
    assert [each.findtext("title") for each in bands] == ["finetuning 1", "finetuning 2"]
    assert [each.text for each in chart.findall("text") if each.get("class") == "band-name"] == names
    first, second = ((float(each.get("x", 0)), float(each.get("width", 0))) for each in bands)
    assert first[0] + first[1] < second[0]
