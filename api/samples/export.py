"""A selection of samples to take away, page by page, and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy.orm import Session, sessionmaker

from api.samples.reading import dataset_of, names_of, sample_read
from api.samples.schemas import SampleRead, SampleSelection
from persistence import datasets, samples
from persistence.database import transaction
from persistence.tables import DatasetImage, Job, Sample

COLUMNS: Final = ("name", *(field for field in SampleRead.model_fields if field != "image_url"))
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Row:
    """A sample, its image if the data set is still there, and all of it, maps and mask included, if asked for."""

    read: SampleRead
    image: DatasetImage | None
    whole: Sample | None


def rows(
    sessions: sessionmaker[Session], job: Job, selection: SampleSelection, limit: int | None, *, whole: bool = False
) -> Iterator[list[Row]]:
    """The samples, page by page, a short transaction each. `whole`: with their maps and masks."""
    after: int | None = None
    left = limit
    while left is None or left > 0:
        with transaction(sessions) as session:
            dataset = dataset_of(session, job)
            names = names_of(session, job, dataset)
            page = samples.page(
                session,
                job.id,
                selection.filters,
                sort=selection.sort,
                descending=selection.order == "desc",
                start=selection.start,
                after=after,
                limit=_PAGE if left is None else min(_PAGE, left),
            )
            indices = [sample.index for sample in page.rows]
            images = {} if dataset is None else datasets.images_of(session, dataset.id, indices)
            all_of = {sample.index: sample for sample in samples.some(session, job.id, indices)} if whole else {}
            found = [
                Row(sample_read(sample, names), images.get(sample.index), all_of.get(sample.index))
                for sample in page.rows
            ]
        if found:
            yield found
        if page.next is None:
            return
        left = None if left is None else left - len(found)
        after = cast("int", page.next)


def csv_lines(pages: Iterator[list[Row]]) -> Iterator[bytes]:
    """A header, then a line each."""
    yield _csv([COLUMNS])
    for page in pages:
        yield _csv([_cells(row) for row in page])


def _cells(row: Row) -> Sequence[Any]:
    values = row.read.model_dump()
    return [row.image.name if row.image else "", *(values[column] for column in COLUMNS[1:])]


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue().encode()
