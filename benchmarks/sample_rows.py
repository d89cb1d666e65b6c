"""What the indexes of the image browser cost the worker: rows written as it writes them, with and without them."""

from __future__ import annotations

import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import psycopg
from sqlalchemy import Table

from benchmarks._large_job import Stack, service
from benchmarks.table import Row
from persistence import samples
from persistence.database import transaction
from persistence.tables import Job, Sample

_BATCH = 512


def run(quick: bool) -> list[Row]:
    """COPY of 1,000,000 samples (`quick`: 20,000) in batches of 512, counted along, into an empty table."""
    count = 20_000 if quick else 1_000_000
    seconds, size = {}, {}
    for with_indexes in (False, True):
        with tempfile.TemporaryDirectory(prefix="masktune-rows-") as folder, service(Path(folder)) as stack:
            job = stack.job()
            if not with_indexes:
                _execute(stack, *(f"DROP INDEX {index.name}" for index in cast("Table", Sample.__table__).indexes))
            seconds[with_indexes] = _write(stack, job, count)
            size[with_indexes] = _execute(stack, "SELECT pg_indexes_size('samples')") / 2**20
    return [
        Row(
            "samples written with the browser's indexes",
            count / seconds[True],
            count / seconds[False],
            seconds[False] / seconds[True],
            unit="rows/s",
            note=f"{count:,} rows: {seconds[True]:.0f} s; baseline without them: {seconds[False]:.0f} s",
        ),
        Row("the browser's indexes", size[True] - size[False], unit="MiB", note=f"{count:,} rows, 224 px, 7 × 7 maps"),
    ]


def _write(stack: Stack, job: uuid.UUID, count: int) -> float:
    """Seconds."""
    with transaction(stack.sessions) as session:
        token = session.get_one(Job, job).lease_token
    assert token is not None
    rows = _rows(count)
    start = time.perf_counter()
    for _ in range(0, count, _BATCH):
        with transaction(stack.sessions) as session:
            samples.copy_in(session, job, token, [row for row, _ in zip(rows, range(_BATCH), strict=False)])
    return time.perf_counter() - start


def _rows(count: int) -> Iterator[dict[str, Any]]:
    """Values without any order, which is hardest for an index."""
    generator = np.random.default_rng(0)
    cam = generator.random((7, 7)).astype(np.float16).tobytes()
    mask = zlib.compress(np.packbits(generator.random((224, 224)) < 0.01).tobytes()[:400])
    for index in range(count):
        label, group, before, after = (int(value) for value in generator.integers(2, size=4))
        first, second, masked, distance = generator.random(4)
        yield {
            "index": index,
            "split": "train" if index % 10 < 8 else "test",
            "label": label,
            "group": 2 * label + group,
            "predicted_before": before,
            "confidence_before": float(first),
            "predicted_after": after,
            "confidence_after": float(second),
            "confidence_drop": float(first - second),
            "masked_fraction": float(masked),
            "heatmap_distance": float(distance),
            "height": 224,
            "width": 224,
            "cam_height": 7,
            "cam_width": 7,
            "cam_before": cam,
            "cam_after": cam,
            "mask": mask,
            "probabilities_before": None,
            "probabilities_after": None,
        }


def _execute(stack: Stack, *statements: str) -> float:
    """The last statement's only number, or 0."""
    with psycopg.connect(stack.database, autocommit=True) as connection:
        row = None
        for statement in statements:
            cursor = connection.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
    return float(row[0]) if row else 0.0
