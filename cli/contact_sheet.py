"""A PNG that shows, image by image, what a model looked at, what was masked, and what it looks at afterwards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from cli.client import Client

_TILE: Final = 96
_GAP: Final = 8
_MARGIN: Final = 24
_LABEL_WIDTH: Final = 216
_INK, _FAINT, _GOOD, _BAD, _PAPER = "#1b1f24", "#6b7280", "#15803d", "#b91c1c", "#ffffff"

VIEWS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("image", {"view": "original"}),
    ("ERM looks at", {"view": "heatmap", "model": "before"}),
    ("mask", {"view": "mask"}),
    ("masked image", {"view": "masked"}),
    ("MaskTune looks at", {"view": "heatmap", "model": "after"}),
)
"""Heading of each column, and how to ask the service for it."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One sample. A prediction is (class name, confidence in [0, 1], whether it is right)."""

    title: str
    subtitle: str
    before: tuple[str, float, bool]
    after: tuple[str, float, bool]
    tiles: Sequence[Image.Image]


@dataclass(frozen=True, slots=True)
class SheetSection:
    """Samples that have something in common, under a heading."""

    title: str
    rows: Sequence[SheetRow]


def fetch_tiles(client: Client, job_id: str, index: int) -> list[Image.Image]:
    """The five views of one sample, over HTTP."""
    path = f"/v1/jobs/{job_id}/samples/{index}/image"
    return [Image.open(io.BytesIO(client.get_bytes(path, **query))).convert("RGB") for _, query in VIEWS]


def draw_sheet(title: str, subtitle: str, sections: Sequence[SheetSection]) -> Image.Image:
    """Sections side by side, a sample a row, the views as columns."""
    shown = [section for section in sections if section.rows]
    width = _LABEL_WIDTH + len(VIEWS) * (_TILE + _GAP)
    depth = max((len(section.rows) for section in shown), default=0)
    top = _MARGIN + 64
    size = (
        max(2 * _MARGIN + len(shown) * width + (len(shown) - 1) * 2 * _MARGIN, 640),
        top + 60 + depth * (_TILE + _GAP) + _MARGIN,
    )
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), title, _INK, font=_font(22))
    draw.text((_MARGIN, _MARGIN + 32), subtitle, _FAINT, font=_font(14))
    for place, section in enumerate(shown):
        left = _MARGIN + place * (width + 2 * _MARGIN)
        draw.text((left, top), section.title, _INK, font=_font(16))
        for column, (heading, _) in enumerate(VIEWS):
            center = left + _LABEL_WIDTH + column * (_TILE + _GAP) + _TILE // 2
            draw.text((center, top + 32), heading, _FAINT, font=_font(11), anchor="ma")
        for line, row in enumerate(section.rows):
            _draw_row(sheet, draw, left, top + 54 + line * (_TILE + _GAP), row)
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write the sheet as a PNG; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, left: int, top: int, row: SheetRow) -> None:
    draw.text((left, top + 8), row.title, _INK, font=_font(14))
    draw.text((left, top + 28), row.subtitle, _FAINT, font=_font(11))
    for offset, name, (predicted, confidence, right) in ((50, "ERM", row.before), (69, "MaskTune", row.after)):
        draw.text((left, top + offset), name, _FAINT, font=_font(12))
        verdict = f"{predicted}  {100 * confidence:.0f} %"
        draw.text((left + 66, top + offset), verdict, _GOOD if right else _BAD, font=_font(12))
    for column, tile in enumerate(row.tiles):
        place = (left + _LABEL_WIDTH + column * (_TILE + _GAP), top)
        sheet.paste(_fit(tile), place)
        draw.rectangle((place[0] - 1, place[1] - 1, place[0] + _TILE, place[1] + _TILE), outline="#d1d5db")


def _fit(tile: Image.Image) -> Image.Image:
    """Small images are enlarged pixel by pixel, so that a mask's true pixels can be seen; large ones are reduced."""
    scale = _TILE / max(tile.size)
    size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
    fitted = tile.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    square = Image.new("RGB", (_TILE, _TILE), "#f3f4f6")
    square.paste(fitted, ((_TILE - size[0]) // 2, (_TILE - size[1]) // 2))
    return square


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
