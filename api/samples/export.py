"""A selection of samples to take away: as a table, or with its images as a folder that FiftyOne loads."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final, cast

from sqlalchemy.orm import Session, sessionmaker

from api.rendering.pictures import suffix_of
from api.samples.reading import Names, dataset_of, names_of, sample_read
from api.samples.schemas import SampleRead, SampleSelection
from persistence import datasets, samples
from persistence.database import transaction
from persistence.store import ObjectStore
from persistence.tables import DatasetImage, Job

COLUMNS: Final = ("name", *(field for field in SampleRead.model_fields if field != "image_url"))
_PAGE: Final = 500
_LABELS_IN_MEMORY: Final = 4 * 2**20

Row = tuple[SampleRead, DatasetImage | None]


def rows(
    sessions: sessionmaker[Session], job: Job, selection: SampleSelection, limit: int | None
) -> Iterator[list[Row]]:
    """The samples, page by page, each with its image if the data set is still there; a short transaction each."""
    after: int | None = None
    left = limit
    while left is None or left > 0:
        with transaction(sessions) as session:
            dataset = dataset_of(session, job)
            names = names_of(job, dataset)
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
            found = [(sample_read(sample, names), images.get(sample.index)) for sample in page.rows]
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
        yield _csv([_cells(sample, image) for sample, image in page])


def fiftyone_folder(
    pages: Iterator[list[Row]], store: ObjectStore, archive_sha256: str, names: Names
) -> Iterator[bytes]:
    """A zip of `data/` and `labels.json`, which `fo.types.FiftyOneImageClassificationDataset` loads.

    The label of an image is its true class; what the models said stands in its attributes. The images are the data
    set's own bytes.
    """
    buffer = _Outgoing()
    with (
        zipfile.ZipFile(cast("IO[bytes]", buffer), "w", zipfile.ZIP_STORED) as archive,
        tempfile.SpooledTemporaryFile(_LABELS_IN_MEMORY) as labels,
    ):
        labels.write(b'{"classes": %s, "labels": {' % json.dumps(names.classes).encode())
        first = True
        for page in pages:
            for sample, image in page:
                if image is None:
                    continue
                content = store.read_range(archive_sha256, image.offset, image.length)
                key = f"{sample.index:08d}"
                archive.writestr(zipfile.ZipInfo(f"data/{key}{suffix_of(content)}"), content)
                entry = json.dumps(key) + ": " + json.dumps(_labelled(sample, image, names))
                labels.write(("" if first else ",\n").encode() + entry.encode())
                first = False
                if len(buffer.waiting) > 2**20:
                    yield buffer.take()
        labels.write(b"}}\n")
        labels.seek(0)
        with archive.open(zipfile.ZipInfo("labels.json"), "w", force_zip64=True) as member:
            while part := labels.read(2**20):
                member.write(part)
                yield buffer.take()
    yield buffer.take()


def _labelled(sample: SampleRead, image: DatasetImage, names: Names) -> dict[str, Any]:
    told = sample.model_dump(exclude={"image_url", "label", "class_name"})
    told |= {"name": image.name}
    for key in ("predicted_before", "predicted_after"):
        told[key] = names.classes[told[key]]
    return {"label": sample.label, "attributes": told}


def _cells(sample: SampleRead, image: DatasetImage | None) -> Sequence[Any]:
    values = sample.model_dump()
    return [image.name if image else "", *(values[column] for column in COLUMNS[1:])]


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue().encode()


class _Outgoing:
    """A file that can only be written, whose content is taken away piece by piece."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        self.waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = bytes(self.waiting)
        self.waiting.clear()
        return taken
