"""The images of a data set: where each lies in the normalised archive, and what it is."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.orm import Session

from persistence.copying import copy_rows
from persistence.errors import NotFound
from persistence.pages import Page, cut
from persistence.tables import DatasetImage

_TYPES: Final = {
    "dataset_id": "uuid",
    "index": "int4",
    "name": "text",
    "split": "text",
    "label": "int4",
    "attributes": "int2[]",
    "width": "int4",
    "height": "int4",
    "offset": "int8",
    "length": "int4",
}


def copy_in(session: Session, dataset_id: uuid.UUID, rows: Iterable[Mapping[str, Any]]) -> int:
    """COPY the rows of a data set that has none yet; returns how many. `rows` are the columns without `dataset_id`."""
    return copy_rows(session, DatasetImage.__tablename__, _TYPES, ({**row, "dataset_id": dataset_id} for row in rows))


def page(
    session: Session,
    dataset_id: uuid.UUID,
    *,
    split: str | None = None,
    label: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Page[DatasetImage]:
    """Images in the order of their index."""
    statement = select(DatasetImage).where(DatasetImage.dataset_id == dataset_id)
    if split is not None:
        statement = statement.where(DatasetImage.split == split)
    if label is not None:
        statement = statement.where(DatasetImage.label == label)
    if after is not None:
        statement = statement.where(DatasetImage.index > after)
    rows = session.scalars(statement.order_by(DatasetImage.index).limit(limit + 1)).all()
    return cut(rows, limit, lambda image: image.index)


def by_index(session: Session, dataset_id: uuid.UUID, indices: Sequence[int]) -> dict[int, DatasetImage]:
    """Those of the images that there are, by their index."""
    statement = select(DatasetImage).where(DatasetImage.dataset_id == dataset_id, DatasetImage.index.in_(indices))
    return {image.index: image for image in session.scalars(statement)}


def get(session: Session, dataset_id: uuid.UUID, index: int) -> DatasetImage:
    """Raises `NotFound`."""
    image = session.get(DatasetImage, (dataset_id, index))
    if image is None:
        raise NotFound("image", index)
    return image


def pixels(session: Session, dataset_id: uuid.UUID) -> dict[str, int]:
    """Pixels of all images together, by split."""
    area = func.sum(cast(DatasetImage.width, BigInteger) * DatasetImage.height)
    rows = session.execute(
        select(DatasetImage.split, area).where(DatasetImage.dataset_id == dataset_id).group_by(DatasetImage.split)
    )
    return {split: int(count) for split, count in rows}
