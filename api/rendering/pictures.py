"""From stored image bytes to pixels, and from pixels to an answer."""

from __future__ import annotations

import io
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from api.rendering.heatmap import Rgb

Format = Literal["webp", "png"]
MEDIA_TYPES: Final[dict[Format, str]] = {"webp": "image/webp", "png": "image/png"}

_WEBP_MAX_SIDE = 16_383
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"WEBP", 8, "image/webp"),
    (b"GIF8", 0, "image/gif"),
    (b"BM", 0, "image/bmp"),
    (b"II*\x00", 0, "image/tiff"),
    (b"MM\x00*", 0, "image/tiff"),
)


def media_type_of(data: bytes) -> str:
    """By the first bytes, as the stored name may say anything."""
    for signature, at, media_type in _SIGNATURES:
        if data[at : at + len(signature)] == signature:
            return media_type
    return "application/octet-stream"


def suffix_of(data: bytes) -> str:
    """Of a file with these bytes: ".png", or nothing for what is not known."""
    return {"image/jpeg": ".jpg", "application/octet-stream": ""}.get(
        media_type := media_type_of(data), f".{media_type.partition('/')[2]}"
    )


def decode(data: bytes, height: int, width: int) -> Rgb:
    """(H, W, 3) uint8. Raises `ValueError` if the bytes are not an image of that size."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (width, height):
                raise ValueError(f"the stored image is {image.height}×{image.width}, its row says {height}×{width}")
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"the stored image cannot be decoded: {error}") from None


def encode(pixels: npt.NDArray[np.uint8], encoding: Format, max_side: int | None = None) -> bytes:
    """Lossless WebP or PNG of (H, W) or (H, W, 3) uint8 pixels, scaled down so that no side exceeds `max_side`."""
    image = Image.fromarray(pixels)
    if encoding == "webp":
        max_side = min(max_side or _WEBP_MAX_SIDE, _WEBP_MAX_SIDE)
    longest = max(image.size)
    if max_side is not None and longest > max_side:
        size = tuple(max(1, round(side * max_side / longest)) for side in image.size)
        # A mask stays black and white; a picture is averaged.
        sampling = Image.Resampling.NEAREST if image.mode == "L" else Image.Resampling.BOX
        image = image.resize((size[0], size[1]), sampling)
    out = io.BytesIO()
    if encoding == "webp":
        # Without loss either way; more effort takes three to five times as long and saves 2 to 4 % of a photograph.
        image.save(out, "WEBP", lossless=True, quality=20, method=1, exact=True)
    else:
        image.save(out, "PNG", compress_level=4)
    return out.getvalue()
