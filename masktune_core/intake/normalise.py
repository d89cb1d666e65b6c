"""Intake: read an uploaded archive in whatever accepted form, and write the normalised one."""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masktune_core.config_intake import IntakeOptions
from masktune_core.data.archive import ArchiveIndex, ArchiveWriter, ImageRow
from masktune_core.errors import Problem
from masktune_core.intake.decoding import decoded
from masktune_core.intake.findings import LISTED, Findings
from masktune_core.intake.headroom import Headroom
from masktune_core.intake.images import CONVERSIONS, Prepared
from masktune_core.intake.layouts import read_layout
from masktune_core.intake.limits import IntakeLimits
from masktune_core.intake.plan import Plan, make_plan
from masktune_core.intake.png_names import PngNames
from masktune_core.intake.sources import open_source
from masktune_core.intake.summary import summarise

_LINE_BYTES: Final = 400  # of an image in the table and in the zip's directory
_TOO_LARGE: Final = (
    "with this image the normalised data set takes more than {:,} bytes: leave images out, or convert those of other "
    "kinds to baseline RGB JPEG, which is kept as it is and is much smaller than the PNG that they become here"
)
_LIMITS: Final = IntakeLimits()
_OPTIONS: Final = IntakeOptions()


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
    options: IntakeOptions = _OPTIONS,
    progress: Callable[[int, int], None] | None = None,
) -> IntakeReport:
    """Check the archive `source` and write its normalised form to `destination`, whole or not at all.

    Zip, tar, tar.gz and tar.zst are told by content; `filename`, the name it was uploaded under, is for messages only.
    `options` decide what the archive leaves open. `progress` is called with (images done, images in all). The same
    source and options give the same bytes. Memory grows by some 700 bytes an image, not with their size; a compressed
    tar needs room for its content beside `destination` while it is read.

    Raises `ArchiveError` with every problem found; `OutOfDisk` and `MemoryError` where the machine has too little.
    """
    findings = Findings()
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".intake-", dir=destination.parent) as folder:
        scratch = Path(folder)
        with open_source(source, scratch, limits, findings, filename) as archive:
            draft = read_layout(archive, findings, options)
            if len(draft) > limits.max_images:
                message = f"the data set has {len(draft):,} images; the limit is {limits.max_images:,}"
                raise findings.fatal("too_many_images", filename, message)
            plan = make_plan(draft, findings, limits)
            del draft
            written = scratch / "normalised.zip"
            index, marks = _write(plan, written, limits, findings, progress)
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(destination)
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
    plan: Plan, path: Path, limits: IntakeLimits, findings: Findings, progress: Callable[[int, int], None] | None
) -> tuple[ArchiveIndex, _Marks]:
    """Check every image, and write them as long as nothing is wrong; raises `ArchiveError` if anything is."""
    marks = _Marks(array("Q"), array("Q"))
    names = PngNames(plan)
    headroom, size = Headroom(path.parent, limits.min_free_bytes), 0
    with ArchiveWriter(path, classes=plan.classes, attributes=plan.attributes, layout=plan.layout) as writer:
        for done, (row, prepared) in enumerate(decoded(plan, limits, findings), start=1):
            if prepared is not None:
                for code in prepared.conversions:
                    findings.converted(code, row.name, CONVERSIONS[code])
                size += len(prepared.encoded)
                if size > limits.max_output_bytes and not findings.failed:
                    findings.error("too_large", row.name, _TOO_LARGE.format(limits.max_output_bytes))
                if not findings.failed:
                    headroom.take(len(prepared.encoded))
                    name = names.free(row.name) if prepared.conversions else row.name
                    image = ImageRow(name, row.split, row.label, row.attributes, prepared.height, prepared.width)
                    writer.add(image, prepared.encoded)
                    marks.add(prepared)
            if progress is not None:
                progress(done, len(plan))
        if findings.failed:
            raise findings.as_error()
        headroom.take(_LINE_BYTES * len(plan))
        return writer.finish(), marks
