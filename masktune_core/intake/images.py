"""One image: checked from first to last byte, and brought to 8-bit RGB where it is anything else."""

from __future__ import annotations

import io
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

_FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_ORIENTATION_TAG: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What each conversion did, as the end of "37 images: …".
CONVERSIONS: Final = {
    "image_grey": "greyscale was repeated into three channels",
    "image_alpha": "the transparency was dropped, the colour under it kept",
    "image_cmyk": "CMYK was converted to RGB",
    "image_16bit": "16 bits per channel were cut to the upper 8",
    "image_palette": "palette colours were written out",
    "image_rotated": "turned upright as the EXIF orientation says",
    "image_animated": "only the first frame was taken",
    "image_format": "stored as PNG instead of another format than baseline JPEG or PNG",
}


class ImageError(Exception):
    """An image that cannot be used; `code` is `image_corrupt` or `image_too_large`."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Prepared(NamedTuple):
    """An image fit for the archive: 8-bit RGB, JPEG or PNG. `conversions` (keys of `CONVERSIONS`): what was changed.

    `fingerprint` is the difference hash of what it shows, 64 bits: nearly the same for images that look alike.
    """

    encoded: bytes
    height: int
    width: int
    conversions: tuple[str, ...]
    fingerprint: int


def prepare_image(encoded: bytes, max_pixels: int) -> Prepared:
    """Decode an image wholly; baseline RGB JPEG and 8-bit RGB PNG come back byte for byte, all else as PNG.

    Transparency is dropped as `convert("RGB")` does, which is how torchvision's ImageFolder reads such files.
    Raises `ImageError`.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            return _prepare(image, encoded, max_pixels)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("image_too_large", f"has too many pixels; the limit is {max_pixels:,}") from error
    except UnidentifiedImageError as error:
        raise ImageError("image_corrupt", "is no image in JPEG, PNG, BMP, GIF, WebP, TIFF or PNM format") from error
    except Exception as error:  # decoders meet hostile bytes here, and any failure of theirs is a finding
        raise ImageError("image_corrupt", f"does not decode: {str(error)[:200] or type(error).__name__}") from error


def _prepare(image: ImageFile, encoded: bytes, max_pixels: int) -> Prepared:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError("image_too_large", f"has {width} × {height} pixels; the limit is {max_pixels:,}")
    conversions = _conversions(image)
    turn = _TURNS.get(_orientation(image))
    image.load()
    if not conversions:
        return Prepared(encoded, height, width, (), difference_hash(image))
    rgb = _to_rgb(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    converted = io.BytesIO()
    rgb.save(converted, "png")
    return Prepared(converted.getvalue(), rgb.height, rgb.width, conversions, difference_hash(rgb))


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether each cell of an 8 × 9 grid of mean brightness is brighter than its right neighbour, row by row.

    Survives resizing, recompression and changes of brightness (Krawetz, "Kind of like that", 2013).
    """
    grid = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return int.from_bytes(np.packbits(grid[:, :-1] > grid[:, 1:]).tobytes(), "big")


def _conversions(image: ImageFile) -> tuple[str, ...]:
    """Everything that keeps the file from being taken as it is; before the pixels are loaded."""
    mode, sixteen = image.mode, _is_sixteen_bit(image)
    if mode in ("I", "F") and not sixteen:
        raise ImageError("image_corrupt", f"has pixels of kind {mode!r} (32 bits): save it with 8 bits per channel")
    found = {
        "image_grey": mode in ("1", "L", "LA", "La", "I") or mode.startswith("I;16"),
        "image_alpha": mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info,
        "image_cmyk": mode == "CMYK",
        "image_16bit": sixteen,
        "image_palette": mode in ("P", "PA"),
        "image_rotated": _orientation(image) in _TURNS,
        "image_animated": getattr(image, "n_frames", 1) > 1,
    }
    conversions = tuple(code for code, applies in found.items() if applies)
    plain = image.format == "PNG" or (image.format == "JPEG" and not image.info.get("progressive"))
    if conversions or (plain and mode == "RGB"):
        return conversions
    return ("image_format",)


def _is_sixteen_bit(image: ImageFile) -> bool:
    return image.mode.startswith("I;16") or any("16" in str(tile.args) for tile in image.tile)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (ValueError, TypeError, SyntaxError, OSError, KeyError, UserWarning):
        return 1  # unreadable EXIF says nothing; viewers show such a file as it is


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        upper = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(np.clip(upper, 0, 255).astype(np.uint8)).convert("RGB")
    image.info.pop("transparency", None)
    return image.convert("RGB")
