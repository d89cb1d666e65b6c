"""The stored mask, drawn and applied."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from api.rendering.heatmap import Rgb

Keep = npt.NDArray[np.bool_]
Fill = Literal["zero", "mean", "blur"]

_BLUR_SHARE = 0.1  # of the longer side


def unpack_mask(deflated: bytes, height: int, width: int) -> Keep:
    """The keep mask (H, W) bool, True = kept, from its stored form: bits packed row-major, then deflated.

    Raises `ValueError` if the bytes do not hold exactly such a mask.
    """
    packed_size = (height * width + 7) // 8
    inflater = zlib.decompressobj()
    try:
        packed = inflater.decompress(deflated, packed_size)
        complete = len(packed) == packed_size and (inflater.eof or not inflater.decompress(b"", 1))
    except zlib.error as error:
        raise ValueError(f"the mask is damaged: {error}") from None
    if not complete:
        raise ValueError(f"the mask does not have {height}×{width} pixels")
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=height * width).reshape(height, width).view(bool)


def mask_picture(keep: Keep) -> npt.NDArray[np.uint8]:
    """(H, W) uint8: white = kept, black = masked."""
    return keep.view(np.uint8) * np.uint8(255)


def masked(image: Rgb, keep: Keep, fill: Fill) -> Rgb:
    """The image (H, W, 3) uint8 as finetuning saw it; kept pixels are unchanged to the bit.

    zero: black. mean: the image's mean colour. blur: a Gaussian-blurred copy. The same fillings as
    `masktune_core.data.fill`, which the API's image does not have.
    """
    if fill == "zero":
        filling = np.zeros(3, dtype=np.uint8)
    elif fill == "mean":
        filling = ((image.sum(axis=(0, 1), dtype=np.int64) * 2 + keep.size) // (2 * keep.size)).astype(np.uint8)
    else:
        radius = _BLUR_SHARE * max(image.shape[:2])
        filling = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    result: Rgb = np.where(keep[:, :, None], image, filling)
    return result
