"""What the finetuned model is called: the controls are not MaskTune."""

from __future__ import annotations

from typing import Final

from persistence.tables import Job

_BY_STRATEGY: Final = {
    "masktune": "MaskTune",
    "random_mask": "random masks",
    "random": "random masks",  # as it was called at first; jobs keep their configuration
    "none": "no masks",
}


def after_name(job: Job) -> str:
    """By the job's masking strategy."""
    return _BY_STRATEGY[job.config["masking"]["strategy"]]
