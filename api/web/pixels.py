"""Which images are so small that they are enlarged pixel by pixel; a photograph is scaled smoothly."""

from __future__ import annotations

from typing import Final

SMALL: Final = 100
"""Sides below this, in pixels; `static/js/sample-tile.js` has the same."""


def is_small(width: int, height: int) -> bool:
    """Whether each pixel of the image is to be seen as a square of its own."""
    return max(width, height) < SMALL
