"""One image: checked from first to last byte, and brought to 8-bit RGB where it is anything else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from masktune_core.intake.webp import webp_size

_FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_KEPT: Final = ("JPEG", "PNG")
_KEPT_PER_PIXEL: Final = 8
_MOST_PER_PIXEL: Final = 24
# Two bytes a channel; "BGR;16" has two bytes a pixel.
_SIXTEEN_BIT: Final = re.compile(r"I;16.*|[A-Za-z]+;16[BLN]S?|[IL];16S?")
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


class Opened(NamedTuple):
    """An image of which only the header was read. `memory`: bytes that `prepare` may take beside `encoded`."""

    image: ImageFile
    encoded: bytes
    memory: int

    def prepare(self) -> Prepared:
        """Decode it wholly; baseline RGB JPEG and 8-bit RGB PNG come back byte for byte, all else as PNG.

        Transparency is dropped as `convert("RGB")` does, which is how torchvision's ImageFolder reads such files.
        Raises `ImageError`, and `MemoryError` where the memory was missing and not the image at fault.
        """
        with _findings(self.memory), self.image:
            return _prepare(self.image, self.encoded)


def open_image(encoded: bytes, max_pixels: int) -> Opened:
    """Read an image's header, and judge its size. Raises `ImageError`, `MemoryError`."""
    width, height = webp_size(encoded) or (0, 0)
    _check_size(width, height, max_pixels)  # a WebP's pixels are made room for as soon as it is opened
    with _findings(_MOST_PER_PIXEL * width * height):
        try:
            image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError("image_too_large", f"has too many pixels; the limit is {max_pixels:,}") from error
        except UnidentifiedImageError as error:
            raise ImageError("image_corrupt", "is no image in JPEG, PNG, BMP, GIF, WebP, TIFF or PNM format") from error
        _check_size(*image.size, max_pixels)
    return Opened(image, encoded, _bytes_per_pixel(image) * image.width * image.height)


def prepare_image(encoded: bytes, max_pixels: int) -> Prepared:
    """`open_image` and `Opened.prepare` in one."""
    return open_image(encoded, max_pixels).prepare()


@contextmanager
def _findings(memory: int) -> Iterator[None]:
    """Turns what decoders raise over hostile bytes into `ImageError`, unless they found no memory."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders meet hostile bytes here, and any failure of theirs is a finding
        # Decoders in C that find no memory call the data broken: see whether what they may have wanted is there.
        np.empty(memory, dtype=np.uint8)
        raise ImageError("image_corrupt", f"does not decode: {str(error)[:200] or type(error).__name__}") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError("image_too_large", f"has {width} × {height} pixels; the limit is {max_pixels:,}")


def _bytes_per_pixel(image: ImageFile) -> int:
    """What preparing an image takes at the most, measured: decoded pixels, their copies, and the PNG made of them."""
    as_it_is = (
        image.format in _KEPT and image.mode == "RGB" and not {"progressive", "exif", "transparency"} & set(image.info)
    )
    return _KEPT_PER_PIXEL if as_it_is else _MOST_PER_PIXEL


def _prepare(image: ImageFile, encoded: bytes) -> Prepared:
    conversions = _conversions(image)
    turn = _TURNS.get(_orientation(image))
    image.load()
    if not conversions:
        return Prepared(encoded, image.height, image.width, (), difference_hash(image))
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
    """Everything that keeps the file from being taken as it is; the pixels must not have been loaded before."""
    mode, sixteen = image.mode, _is_sixteen_bit(image)
    if mode in ("I", "F") and not sixteen:
        raise ImageError("image_corrupt", f"has pixels of kind {mode!r} (32 bits): save it with 8 bits per channel")
    frames = getattr(image, "n_frames", 1)
    transparent = mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if image.format == "PNG":
        image.load()  # or looking for EXIF behind the pixels would load it, and hide what is wrong with them
    found = {
        "image_grey": mode in ("1", "L", "LA", "La", "I") or mode.startswith("I;16"),
        "image_alpha": transparent,
        "image_cmyk": mode == "CMYK",
        "image_16bit": sixteen,
        "image_palette": mode in ("P", "PA"),
        "image_rotated": _orientation(image) in _TURNS,
        "image_animated": frames > 1,
    }
    conversions = tuple(code for code, applies in found.items() if applies)
    plain = image.format in _KEPT and not image.info.get("progressive")
    if conversions or (plain and mode == "RGB"):
        return conversions
    return ("image_format",)


def _is_sixteen_bit(image: ImageFile) -> bool:
    return any(_SIXTEEN_BIT.fullmatch(mode) for mode in (image.mode, *map(_raw_mode, image.tile)))


def _raw_mode(tile: Any) -> str:
    """How pixels lie in the file; some decoders take nothing else, others take row strides and the like behind it."""
    arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    return str(arguments[0]) if arguments else ""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (ValueError, TypeError, SyntaxError, OSError, KeyError, UserWarning):
        return 1  # unreadable EXIF says nothing; viewers show such a file as it is


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        upper = np.clip(np.asarray(image) >> 8, 0, 255)
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    image.info.pop("transparency", None)
    return image.convert("RGB")
