"""A data set's archive, normalised and stored."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from masktune_core.data.archive import ArchiveIndex
from masktune_core.errors import ArchiveError
from masktune_core.intake import IntakeLimits, IntakeOptions, normalise
from masktune_core.preflight import preflight
from persistence import datasets
from persistence.settings import Settings
from persistence.store import Stored
from worker.product import Product


def examine_dataset(
    specification: Mapping[str, Any], source: Path, work_dir: Path, settings: Settings
) -> Product | Callable[[Session], None]:
    """Normalise `source`; returns the archive to keep, or the write that ends the validation with all problems."""
    dataset_id, token = uuid.UUID(specification["id"]), uuid.UUID(specification["token"])
    normalised = work_dir / "normalised.zip"
    limits = IntakeLimits(
        max_images=settings.dataset_max_images,
        max_pixels=settings.image_max_pixels,
        max_output_bytes=settings.dataset_max_bytes,
        min_free_bytes=settings.disk_headroom_bytes,
        max_decoding_bytes=settings.intake_max_memory_bytes // 4,
    )
    try:
        options = IntakeOptions.model_validate(specification["options"])
        report = normalise(source, normalised, filename=specification["filename"], limits=limits, options=options)
    except ArchiveError as error:
        problems, total = [asdict(problem) for problem in error.problems], error.total
        return lambda session: datasets.finish_invalid(session, dataset_id, token, problems, total)
    preflighted = preflight(normalised, report)

    def accept(session: Session, stored: Stored) -> None:
        datasets.finish_ready(
            session,
            dataset_id,
            token,
            archive_sha256=stored.sha256,
            size=stored.size,
            images=image_rows(report.index),
            layout=report.index.layout,
            classes=report.index.classes,
            attributes=[{"name": name, "values": list(values)} for name, values in report.index.attributes],
            summary=report.summary,
            report=preflighted,
            problems=[asdict(problem) for problem in report.problems],
            total=report.total,
        )

    def refuse(session: Session, code: str, message: str) -> None:
        problem = {"code": code, "where": "", "message": message, "severity": "error"}
        datasets.finish_invalid(session, dataset_id, token, [problem], 1)

    return Product(normalised, accept, refuse)


def image_rows(index: ArchiveIndex) -> Iterator[dict[str, Any]]:
    """The columns of `dataset_images`, a row per image, made one at a time."""
    splits = index.split_names
    for position, name in enumerate(index.names):
        yield {
            "index": position,
            "name": name,
            "split": splits[index.split[position]],
            "label": int(index.label[position]),
            "attributes": [None if value < 0 else int(value) for value in index.attribute[position]],
            "width": int(index.width[position]),
            "height": int(index.height[position]),
            "offset": int(index.offset[position]),
            "length": int(index.length[position]),
        }
