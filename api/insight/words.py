"""A cluster in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SHORTCUT_SHARE: Final = 1 / 3
SHORTCUT_TIGHTNESS: Final = 0.5
LEAST_IMAGES: Final = 3
"""Of a cluster that says something of its class: one or two images are alike by themselves."""


def is_shortcut(cluster: Mapping[str, Any]) -> bool:
    """Much the same thing at much the same place, in a good part of the class."""
    return bool(cluster["share"] >= SHORTCUT_SHARE and cluster["tightness"] >= SHORTCUT_TIGHTNESS)


def described(cluster: Mapping[str, Any]) -> str:
    """One sentence: what kind of region, where, and in how many images."""
    share = f"in {_percent(cluster['share'])} of the masked images"
    size = f"{_percent(cluster['masked_fraction'])} of the picture"
    where = place(cluster["top"], cluster["left"])
    if cluster["images"] < LEAST_IMAGES:
        return f"{'A single image' if cluster['images'] == 1 else 'Two images'}, masked most {where}: {size}."
    if is_shortcut(cluster):
        return f"The same region {where}, {share}: {size}, and two images share {_percent(cluster['overlap'])} of it."
    if cluster["overlap"] >= SHORTCUT_TIGHTNESS:
        return f"Much the same region {where}, {share}: {size}."
    shared = f"two images share {_percent(cluster['overlap'])} of it"
    return f"Regions in different places, most {where}, {share}: {size}, and {shared}."


def place(top: float, left: float) -> str:
    """Where in the picture, in ninths of it."""
    row = "top" if top < 1 / 3 else "bottom" if top > 2 / 3 else ""
    column = "left" if left < 1 / 3 else "right" if left > 2 / 3 else ""
    if row and column:
        return f"in the {row} {column} corner"
    if row or column:
        return f"at the {row or column}"
    return "in the middle"


def _percent(value: float) -> str:
    number = 100 * value
    return f"{number:.1f} %" if number < 10 else f"{number:.0f} %"
