"""The spurious cues of the paper's MNIST experiments (section 4.1), drawn into grey digits."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Cue = Literal["square", "two_squares", "background", "foreground"]
CUES: Final[tuple[Cue, ...]] = ("square", "two_squares", "background", "foreground")

_SIDE: Final = 4
_RED: Final = np.array([255, 0, 0], dtype=np.uint8)
_BLUE: Final = np.array([0, 0, 255], dtype=np.uint8)


def colored(digit: NDArray[np.uint8], cue: Cue | None) -> NDArray[np.uint8]:
    """A grey digit (H, W) as RGB (H, W, 3), with the cue if there is one.

    - square: 4 × 4 red, top left;
    - two_squares: that, and a blue one top right;
    - background: red instead of black, under the strokes;
    - foreground: red strokes instead of white ones.
    """
    image = np.repeat(digit[:, :, None], 3, axis=2)
    if cue in ("square", "two_squares"):
        image[:_SIDE, :_SIDE] = _RED
    if cue == "two_squares":
        image[:_SIDE, -_SIDE:] = _BLUE
    if cue == "background":
        image[:, :, 0] = 255
    if cue == "foreground":
        image[:, :, 1:] = 0
    return image
