"""A selection of samples as a folder that FiftyOne loads, with their images, heatmaps and masks.

The folder has the layout of `fo.types.FiftyOneDataset` without a `version` in `metadata.json`: FiftyOne then takes the
fields as it finds them in `samples.json`, instead of migrating them from the version that wrote them.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any, Final, cast

import numpy as np

from api.rendering.levels import map_levels
from api.rendering.masks import mask_picture, unpack_mask
from api.rendering.pictures import encode, suffix_of
from api.samples.export import Row
from api.samples.reading import Names
from masktune_core.config import JobConfig
from persistence.store import ObjectStore
from persistence.tables import Sample

HEATMAP_SIDE: Final = 256
"""Pixels; FiftyOne stretches a map over its image."""
MASKED: Final = 255
"""Level of what is masked; 0 is FiftyOne's background, which it leaves alone."""
_PLAIN: Final = (
    "index",
    "split",
    "group_name",
    "flipped",
    "correct_before",
    "correct_after",
    "confidence_drop",
    "masked_fraction",
    "heatmap_distance",
)
_SAMPLES_IN_MEMORY: Final = 4 * 2**20
_PART: Final = 2**20


def fiftyone_folder(
    pages: Iterator[list[Row]], store: ObjectStore, archive_sha256: str, names: Names, config: JobConfig
) -> Iterator[bytes]:
    """The folder as a zip, in parts. The images are the data set's own bytes; a sample without one is left out.

    Raises `ObjectMissing`.
    """
    buffer = _Outgoing()
    with (
        zipfile.ZipFile(cast("IO[bytes]", buffer), "w", zipfile.ZIP_STORED) as archive,
        tempfile.SpooledTemporaryFile(_SAMPLES_IN_MEMORY) as told,
    ):
        archive.writestr(zipfile.ZipInfo("metadata.json"), json.dumps(_metadata(names)))
        told.write(b'{"samples": [')
        first = True
        for page in pages:
            for row in page:
                if row.image is None or row.whole is None:
                    continue
                content = store.read_range(archive_sha256, row.image.offset, row.image.length)
                key = f"{row.read.index:08d}"
                files = {f"data/{key}{suffix_of(content)}": content} | _fields(row.whole, key, config)
                for name, data in files.items():
                    archive.writestr(zipfile.ZipInfo(name), data)
                told.write(("" if first else ",\n").encode() + json.dumps(_sample(row, names, list(files))).encode())
                first = False
                if len(buffer.waiting) > _PART:
                    yield buffer.take()
        told.write(b"]}\n")
        told.seek(0)
        with archive.open(zipfile.ZipInfo("samples.json"), "w", force_zip64=True) as member:
            while part := told.read(_PART):
                member.write(part)
                yield buffer.take()
    yield buffer.take()


def _metadata(names: Names) -> dict[str, Any]:
    info = {"default_classes": names.classes, "default_mask_targets": {str(MASKED): "masked"}}
    return {"media_type": "image", "info": info}


def _fields(sample: Sample, key: str, config: JobConfig) -> dict[str, bytes]:
    """The pictures beside the image, by their place in the folder, in the order in which `_sample` names them."""
    box = config.input.evaluation_box(sample.height, sample.width)
    pictures = {}
    for side, stored in (("before", sample.cam_before), ("after", sample.cam_after)):
        cam = np.frombuffer(stored, dtype="<f2").reshape(sample.cam_height, sample.cam_width).astype(np.float32)
        levels = map_levels(cam, box, sample.height, sample.width, HEATMAP_SIDE)
        pictures[f"fields/heatmap_{side}/{key}.png"] = encode(levels, "png")
    keep = unpack_mask(sample.mask, sample.height, sample.width)
    pictures[f"fields/mask/{key}.png"] = encode(mask_picture(~keep), "png")
    return pictures


def _sample(row: Row, names: Names, files: list[str]) -> dict[str, Any]:
    image, before, after, mask = files
    read = row.read
    return {
        "filepath": image,
        "tags": [read.split, *([read.flipped] if read.flipped else [])],
        "name": None if row.image is None else row.image.name,
        "ground_truth": {"_cls": "Classification", "label": names.classes[read.label]},
        "prediction_before": _prediction(names, read.predicted_before, read.confidence_before),
        "prediction_after": _prediction(names, read.predicted_after, read.confidence_after),
        "heatmap_before": {"_cls": "Heatmap", "map_path": before, "range": [0, 255]},
        "heatmap_after": {"_cls": "Heatmap", "map_path": after, "range": [0, 255]},
        "mask": {"_cls": "Segmentation", "mask_path": mask},
        **{name: getattr(read, name) for name in _PLAIN},
    }


def _prediction(names: Names, label: int, confidence: float) -> dict[str, Any]:
    return {"_cls": "Classification", "label": names.classes[label], "confidence": confidence}


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
