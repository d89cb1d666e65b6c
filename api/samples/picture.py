"""Draws one picture of a sample from what the job stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog

from api.rendering.heatmap import Box, Rgb, heatmap
from api.rendering.masks import Fill, mask_picture, masked, unpack_mask
from api.rendering.pictures import decode, encode
from api.samples.schemas import PictureQuery
from persistence.errors import ObjectCorrupt
from persistence.store import ObjectStore

log = structlog.get_logger(__name__)

# Part of every entity tag: raise it when pictures come to look different.
_RENDERING: Final = "1"


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """Where an image's bytes lie: a range of a stored archive."""

    archive_sha256: str
    offset: int
    length: int

    def pixels(self, store: ObjectStore, height: int, width: int) -> Rgb:
        """(H, W, 3) uint8. Raises `ObjectMissing`, and `ObjectCorrupt` if it is no image of that size."""
        try:
            return decode(store.read_range(self.archive_sha256, self.offset, self.length), height, width)
        except ValueError as error:
            raise ObjectCorrupt(self.archive_sha256, str(error)) from None


def thumbnail(store: ObjectStore, source: ImageBytes, height: int, width: int, max_side: int) -> bytes:
    """An image of a data set as WebP, no side longer than `max_side`. Raises `ObjectMissing`, `ObjectCorrupt`."""
    return encode(source.pixels(store, height, width), "webp", max_side)


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that a picture depends on, read within the transaction; drawn after it."""

    query: PictureQuery
    source: ImageBytes | None
    height: int
    width: int
    cam: bytes
    cam_shape: tuple[int, int]
    box: Box
    mask: bytes
    fill: Fill

    @property
    def etag(self) -> str:
        """Changes with anything that the picture depends on."""
        digest = hashlib.sha256(repr((_RENDERING, self.query, self.source, self.box, self.fill)).encode())
        for part in (self.cam if self.query.view in ("heatmap", "map") else b"", self.mask):
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()[:40]

    def draw(self, store: ObjectStore) -> bytes:
        """The encoded picture. Raises `ObjectMissing`, `ObjectCorrupt`."""
        query = self.query
        if query.view == "mask":
            return encode(mask_picture(unpack_mask(self.mask, self.height, self.width)), query.format, query.max_side)
        if query.view == "map":
            nothing = np.zeros((self.height, self.width, 3), dtype=np.uint8)
            return encode(heatmap(nothing, self._cam(), self.box, alone=True), query.format, query.max_side)
        if self.source is None:
            raise LookupError("only masks and maps can be drawn without the image")
        pixels = self.source.pixels(store, self.height, self.width)
        if query.view == "masked":
            pixels = masked(pixels, unpack_mask(self.mask, self.height, self.width), self.fill)
        elif query.view == "heatmap":
            pixels = heatmap(pixels, self._cam(), self.box)
        return encode(pixels, query.format, query.max_side)

    def _cam(self) -> npt.NDArray[np.float32]:
        return np.frombuffer(self.cam, dtype="<f2").reshape(self.cam_shape).astype(np.float32)
