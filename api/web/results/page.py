"""What a finished job's page shows."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

from api.jobs.endpoints import manifest_text
from api.web.jobs.start import from_checkpoint
from api.web.results.figures import headline, split_figures
from api.web.results.mistakes import MOST_IN_A_TABLE
from api.web.results.names import after_name
from api.web.results.reading import Result
from api.web.results.rejecting import rejecting
from api.web.results.rounds import rounds
from persistence import artifacts
from persistence.tables import Dataset, Job


def result_values(session: Session, result: Result | None, job: Job, dataset: Dataset | None) -> dict[str, Any]:
    """Values for `results/*.html`; `result` is None when there is no file to show."""
    found = artifacts.list_all(session, job.id)
    values: dict[str, Any] = {
        "result": result,
        "after_name": after_name(job),
        "classes": class_names(result, dataset),
        "artifacts": found,
        "given_weights": from_checkpoint(job),
        "config_text": json.dumps(job.config, indent=2),
        "manifest_text": manifest_text(job) if job.manifest else "",
    }
    if result is not None:
        figures = split_figures(result)
        values |= {
            "figures": figures,
            "headline": headline(figures),
            "rejecting": rejecting(result, after_name(job)),
            "rounds": rounds(result),
            "most_in_a_table": MOST_IN_A_TABLE,
        }
    return values


def class_names(result: Result | None, dataset: Dataset | None) -> list[str]:
    """Names of the classes: the data set's, or, once that is deleted, the result's own."""
    if dataset is not None:
        return list(dataset.classes)
    if result is None:
        return []
    return [part["name"] for part in next(iter(result["erm"].values()))["classes"]]
