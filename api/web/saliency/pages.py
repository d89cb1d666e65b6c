"""The page of a job's images. The script fetches what it shows from the API, page by page."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.ids import JobId
from api.samples.reading import dataset_of, names_of
from api.transactions import Transaction
from api.web.templates import render
from api.web.visitors import Visited
from persistence import jobs, sample_counts
from persistence.transitions import FINISHED

router = APIRouter(include_in_schema=False)

VIEWS = (
    ("original", "Image"),
    ("before", "Heatmap before"),
    ("mask", "Mask"),
    ("masked", "Masked image"),
    ("after", "Heatmap after"),
    ("all", "All five"),
)
WITHOUT_IMAGES = tuple(view for view in VIEWS if view[0] == "mask")
"""What can still be drawn once the data set is deleted."""
SORTS = (
    ("index", "Number"),
    ("masked_fraction", "Masked fraction"),
    ("confidence_drop", "Confidence drop"),
    ("heatmap_distance", "Heatmap distance"),
)


@router.get("/jobs/{job_id}/samples")
def samples_page(request: Request, session: Transaction, visitor: Visited, job_id: JobId) -> Response:
    """Filters, the empty grid, and the dialog for one image; the address says what is to be seen."""
    job = jobs.get(session, visitor.tenant_id, job_id)
    dataset = dataset_of(session, job)
    names = names_of(session, job, dataset)
    return render(
        request,
        "saliency/page.html",
        job=job,
        dataset=dataset,
        classes=names.classes,
        class_choices=list(enumerate(names.classes)),
        group_choices=list(enumerate(names.groups)),
        splits=[(split, split) for split in sample_counts.splits(session, job.id)],
        total=sample_counts.total(session, job.id),
        finished=job.status in FINISHED,
        views=VIEWS if dataset else WITHOUT_IMAGES,
        sorts=SORTS,
    )
