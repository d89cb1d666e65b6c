"""Intake: read an uploaded archive in whatever accepted form, and write the normalised one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masktune_core.data.archive import ArchiveIndex, ArchiveWriter, ImageRow, read_index
from masktune_core.errors import Problem
from masktune_core.intake.findings import LISTED, Findings
from masktune_core.intake.images import CONVERSIONS, ImageError, Prepared, prepare_image
from masktune_core.intake.layouts import read_layout
from masktune_core.intake.layouts.celeba import CelebaOptions
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.members import MemberError, Source
from masktune_core.intake.names import collision_key
from masktune_core.intake.plan import Plan, PlanRow, make_plan
from masktune_core.intake.sources import open_source
from masktune_core.intake.summary import summarise

_BYTES_IN_FLIGHT: Final = 64 * 2**20
_IMAGES_IN_FLIGHT: Final = 64
_LIMITS: Final = IntakeLimits()
_CELEBA: Final = CelebaOptions()


@dataclass(frozen=True, slots=True)
class IntakeReport:
    """What became of an archive. `problems` are conversions and warnings (the first 100), `total` counts them.

    `summary` is {"splits": {split: {"count", "classes": {name: count}, "groups": {name: count}}}}. `fingerprints` are
    the images' difference hashes, uint64 (N,); `digests` their bytes' BLAKE2b, 128 bits as uint64 (N, 2).
    """

    index: ArchiveIndex
    problems: tuple[Problem, ...]
    total: int
    summary: dict[str, Any]
    fingerprints: NDArray[np.uint64]
    digests: NDArray[np.uint64]


def normalise(
    source: Path,
    destination: Path,
    *,
    filename: str = "",
    limits: IntakeLimits = _LIMITS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    celeba: CelebaOptions = _CELEBA,
) -> IntakeReport:
    """Check the archive `source` and write its normalised form to `destination`, whole or not at all.

    Zip, tar, tar.gz and tar.zst are told by content; `filename`, the name it was uploaded under, is for messages only.
    `seed` decides the split of data that has none. `progress` is called with (images done, images in all). The same
    source and seed give the same bytes. Memory does not grow with the archive, but for one line per image; a compressed
    tar needs room for its content beside `destination` while it is read.

    Raises `ArchiveError` with every problem found.
    """
    findings = Findings()
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".intake-", dir=destination.parent) as folder:
        scratch = Path(folder)
        with open_source(source, scratch, limits, findings, filename) as archive:
            draft, tree = read_layout(archive, findings, seed=seed, options=celeba)
            if len(draft.rows) > limits.max_images:
                message = f"the data set has {len(draft.rows):,} images; the limit is {limits.max_images:,}"
                raise findings.fatal("too_many_images", filename, message)
            plan = make_plan(draft, tree, findings, limits)
            written = scratch / "normalised.zip"
            marks = _write(plan, archive, written, limits, findings, progress)
        if findings.failed:
            raise findings.as_error()
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(destination)
    index = read_index(destination)
    remarks = findings.remarks()
    fingerprints, digests = np.array(marks.fingerprints, np.uint64), np.array(marks.digests, np.uint64).reshape(-1, 2)
    return IntakeReport(index, remarks[:LISTED], len(remarks), summarise(index), fingerprints, digests)


class _Marks(NamedTuple):
    """What tells the written images apart, in their order; 24 bytes an image."""

    fingerprints: array[int]
    digests: array[int]

    def add(self, prepared: Prepared) -> None:
        self.fingerprints.append(prepared.fingerprint)
        self.digests.frombytes(hashlib.blake2b(prepared.encoded, digest_size=16).digest())


def _write(
    plan: Plan,
    source: Source,
    path: Path,
    limits: IntakeLimits,
    findings: Findings,
    progress: Callable[[int, int], None] | None,
) -> _Marks:
    """Check every image, and write them as long as nothing is wrong."""
    marks = _Marks(array("Q"), array("Q"))
    taken = {collision_key(row.name) for row in plan.rows}
    with ArchiveWriter(path, classes=plan.classes, attributes=plan.attributes, layout=plan.layout) as writer:
        for done, (row, prepared) in enumerate(_prepare(plan.rows, source, limits.max_pixels, findings), start=1):
            if prepared is not None:
                for code in prepared.conversions:
                    findings.converted(code, row.name, CONVERSIONS[code])
                if not findings.failed:
                    name = _png_name(row.name, taken) if prepared.conversions else row.name
                    image = ImageRow(name, row.split, row.label, row.attributes, prepared.height, prepared.width)
                    writer.add(image, prepared.encoded)
                    marks.add(prepared)
            if progress is not None:
                progress(done, len(plan.rows))
        if not findings.failed:
            writer.finish()
    return marks


def _prepare(
    rows: list[PlanRow], source: Source, max_pixels: int, findings: Findings
) -> Iterator[tuple[PlanRow, Prepared | None]]:
    """Rows in order with their images, decoded side by side; None where that failed, which is noted."""
    in_flight: deque[tuple[PlanRow, Future[Prepared]]] = deque()
    held = 0
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="masktune-intake") as pool:
        try:
            for row in rows:
                while in_flight and (held + row.member.size > _BYTES_IN_FLIGHT or len(in_flight) >= _IMAGES_IN_FLIGHT):
                    held -= in_flight[0][0].member.size
                    yield _finished(*in_flight.popleft(), findings)
                try:
                    encoded = source.read(row.member)
                except MemberError as error:
                    task: Future[Prepared] = Future()
                    task.set_exception(ImageError("archive_damaged", str(error)))
                else:
                    task = pool.submit(prepare_image, encoded, max_pixels)
                held += row.member.size
                in_flight.append((row, task))
            while in_flight:
                yield _finished(*in_flight.popleft(), findings)
        finally:
            for _, task in in_flight:
                task.cancel()


def _finished(row: PlanRow, task: Future[Prepared], findings: Findings) -> tuple[PlanRow, Prepared | None]:
    try:
        return row, task.result()
    except ImageError as error:
        findings.error(error.code, row.name, str(error))
        return row, None


def _png_name(name: str, taken: set[str]) -> str:
    """A name for the PNG made from `name`: itself if it ends in .png, else with .png behind, and free."""
    if name.lower().endswith(".png"):
        return name
    candidate = f"{name}.png"
    number = 2
    while collision_key(candidate) in taken:
        candidate = f"{name}.{number}.png"
        number += 1
    taken.add(collision_key(candidate))
    return candidate
