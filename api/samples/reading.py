"""Rows of samples as clients see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from api.samples.groups import group_names
from api.samples.schemas import SampleDetail, SampleRead
from persistence import datasets, insights, metrics
from persistence.configs import read_what_can_be_read
from persistence.tables import Dataset, Job, Sample


@dataclass(frozen=True, slots=True)
class Names:
    """Names of classes and groups by number."""

    classes: list[str]
    groups: list[str]


def dataset_of(session: Session, job: Job) -> Dataset | None:
    """The job's data set, unless it was deleted."""
    return None if job.dataset_id is None else datasets.get(session, job.tenant_id, job.dataset_id)


def names_of(session: Session, job: Job, dataset: Dataset | None) -> Names:
    """What the job calls classes and groups: as its data set does, or, once that is deleted, as its own results do."""
    if dataset is None:
        return Names(classes=insights.class_names(session, job.id), groups=metrics.group_names(session, job.id))
    groups = group_names(dataset, read_what_can_be_read(job.config))
    return Names(classes=list(dataset.classes), groups=groups)


def sample_read(sample: Sample, names: Names) -> SampleRead:
    """A row of a page."""
    before, after = sample.predicted_before == sample.label, sample.predicted_after == sample.label
    group = sample.group
    return SampleRead(
        index=sample.index,
        split=sample.split,
        label=sample.label,
        group=group,
        class_name=names.classes[sample.label] if sample.label < len(names.classes) else None,
        group_name=names.groups[group] if group is not None and group < len(names.groups) else None,
        predicted_before=sample.predicted_before,
        confidence_before=sample.confidence_before,
        predicted_after=sample.predicted_after,
        confidence_after=sample.confidence_after,
        confidence_drop=sample.confidence_drop,
        correct_before=before,
        correct_after=after,
        flipped=None if before == after else ("fixed" if after else "broken"),
        masked_fraction=sample.masked_fraction,
        heatmap_distance=sample.heatmap_distance,
        width=sample.width,
        height=sample.height,
        image_url=f"/v1/jobs/{sample.job_id}/samples/{sample.index}/image",
    )


def sample_detail(sample: Sample, names: Names) -> SampleDetail:
    """A whole row."""
    return SampleDetail(
        **sample_read(sample, names).model_dump(),
        probabilities_before=_numbers(sample.probabilities_before),
        probabilities_after=_numbers(sample.probabilities_after),
    )


def _numbers(stored: bytes | None) -> list[float] | None:
    """Half precision keeps three digits; more would only look exact."""
    return None if stored is None else [float(f"{value:.3g}") for value in np.frombuffer(stored, dtype="<f2").tolist()]
