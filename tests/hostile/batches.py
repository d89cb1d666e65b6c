"""Archives in CIFAR-10's layout whose pickled batches would run something. Each would make the file `canary`."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np

from tests.hostile.checkpoints import payloads, programs
from tests.masktune_core.archives import zip_bytes
from tests.masktune_core.downloads import cifar10

FIRST = "cifar-10-batches-py/data_batch_1"


def corpus(canary: Path) -> dict[str, bytes]:
    """Name → archive. Every payload where a batch has its images, its labels, or anything else; and every program."""
    good, _ = cifar10()
    rows = np.zeros((1, 3072), dtype=np.uint8)
    batches: dict[str, bytes] = {f"{name}, raw": program for name, program in programs(canary).items()}
    for name, payload in payloads(canary).items():
        for place, batch in (
            ("as images", {b"labels": [0], b"data": payload}),
            ("as labels", {b"labels": payload, b"data": rows}),
            ("beside them", {b"labels": [0], b"data": rows, b"more": payload}),
            ("in an array", {b"labels": [0], b"data": np.array([payload, None], dtype=object)}),
        ):
            for protocol in (2, 4):
                batches[f"{name} {place}, protocol {protocol}"] = pickle.dumps(batch, protocol=protocol)
    return {name: zip_bytes({**good, FIRST: batch}, zipfile.ZIP_STORED) for name, batch in batches.items()}
