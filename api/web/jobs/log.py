"""A job's events as lines that people read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from api.web.formats import MISSING, duration, percent, size
from api.web.jobs.timeline import NAMES
from persistence.tables import Event


@dataclass(frozen=True, slots=True)
class Line:
    """One event; `kind` is a class of the style sheet."""

    seq: int
    at: datetime
    kind: str
    text: str


def line(event: Event) -> Line:
    """The event in words; one of a type that nobody told us of is shown as it is."""
    tell = _WORDS.get(event.type)
    text = tell(event.data) if tell else f"{event.type} {json.dumps(event.data, ensure_ascii=False)}"
    return Line(event.seq, event.created_at, _KINDS.get(event.type, ""), text)


def _stage(data: Mapping[str, Any]) -> str:
    iteration, stage = data.get("iteration"), str(data["stage"])
    return NAMES.get(stage, stage) + (f", round {iteration}" if iteration else "")


def _epoch(data: Mapping[str, Any]) -> str:
    loss = MISSING if data["loss"] is None else f"{data['loss']:.4f}"
    parts = [f"Epoch {data['epoch']} of {data['epochs']}: loss {loss}"]
    parts.append(f"accuracy {percent(data['accuracy'])}")
    if data.get("val_accuracy") is not None:
        parts.append(f"validation {percent(data['val_accuracy'])}")
    parts.append(duration(data.get("seconds")))
    return ", ".join(parts)


def _error(data: Mapping[str, Any]) -> str:
    error = data.get("error") or data
    return f"{error.get('message', '')} ({error.get('code', 'unknown')})".strip()


def _retrying(data: Mapping[str, Any]) -> str:
    wait = data.get("delay_seconds")
    return f"Tried again{f' in {duration(wait)}' if wait else ''}: {_error(data)}"


def _resumed(data: Mapping[str, Any]) -> str:
    stage = NAMES.get(data.get("stage", ""), "the stage")
    return f"Goes on in {stage}, epoch {data.get('epoch')}, step {data.get('step')}"


_WORDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "job.queued": lambda _: "Queued",
    "job.started": lambda data: f"Attempt {data.get('attempt')} on {data.get('device')}, worker {data.get('worker')}",
    "job.stage": _stage,
    "job.epoch": _epoch,
    "job.warning": lambda data: f"{data.get('message')} ({data.get('code')})",
    "job.resumed": _resumed,
    "job.retrying": _retrying,
    "job.pause_requested": lambda _: "Pause asked for",
    "job.paused": lambda _: "Paused",
    "job.resume_requested": lambda data: f"Queued again, after it was {data.get('from', 'stopped')}",
    "job.cancel_requested": lambda _: "Cancellation asked for",
    "job.cancelled": lambda _: "Cancelled",
    "job.failed": lambda data: f"Failed: {_error(data)}",
    "job.succeeded": lambda _: "Finished",
    "job.artifact": lambda data: f"Stored {data.get('name')}, {size(data.get('size'))}",
}
_KINDS: Final = {
    "job.stage": "stage",
    "job.warning": "warn",
    "job.retrying": "warn",
    "job.failed": "bad",
    "job.succeeded": "good",
}
