"""What masked pixels become. Every pixel outside the mask stays bit for bit."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Fill = Literal["zero", "mean", "blur"]

# Standard deviation of the blur as a share of the longer side: enough to leave a colour and no shape.
_BLUR_SHARE: Final = 0.1


def fill_masked(image: NDArray[np.uint8], keep: NDArray[np.bool_], fill: Fill = "zero") -> NDArray[np.uint8]:
    """Replace the pixels where `keep` (H, W) is False in `image` (H, W, 3); returns a new array.

    - zero: black (the paper's choice);
    - mean: the mean colour of the whole image, per channel, rounded;
    - blur: the image under a Gaussian blur of a tenth of its longer side.
    """
    if fill == "zero":
        return image * keep[:, :, None]
    if fill == "mean":
        pixels = keep.size
        mean = (image.sum(axis=(0, 1), dtype=np.int64) * 2 + pixels) // (2 * pixels)
        return np.where(keep[:, :, None], image, mean.astype(np.uint8))
    blur = ImageFilter.GaussianBlur(max(image.shape[:2]) * _BLUR_SHARE)
    return np.where(keep[:, :, None], image, np.asarray(Image.fromarray(image).filter(blur)))
