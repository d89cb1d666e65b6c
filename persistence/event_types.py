"""What the log of a job tells of."""

from __future__ import annotations

from typing import Final, Literal

EventType = Literal[
    "job.queued",
    "job.started",
    "job.stage",
    "job.epoch",
    "job.warning",
    "job.resumed",
    "job.retrying",
    "job.pause_requested",
    "job.paused",
    "job.resume_requested",
    "job.cancel_requested",
    "job.cancelled",
    "job.failed",
    "job.succeeded",
    "job.artifact",
]
LAST_TYPES: Final = frozenset({"job.cancelled", "job.failed", "job.succeeded"})
"""A job ends with one of these, and goes on after a failure or cancellation if it is resumed."""
