"""The contact sheet."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cli.contact_sheet import VIEWS, SheetRow, SheetSection, draw_sheet, save_sheet
from cli.demo_sheet import conflicting_groups, group_names

DATASET = {
    "classes": ["0-4", "5-9"],
    "attributes": [{"name": "square", "values": ["no", "yes"]}],
    "summary": {
        "splits": {
            "train": {
                "count": 200,
                "classes": {"0-4": 100, "5-9": 100},
                "groups": {
                    "0-4 · square=no": 1,
                    "0-4 · square=yes": 99,
                    "5-9 · square=no": 99,
                    "5-9 · square=yes": 1,
                },
            }
        }
    },
}


def row(color: str, side: int = 28) -> SheetRow:
    tiles = [Image.new("RGB", (side, side), color) for _ in VIEWS]
    return SheetRow("a 0-4", "square=no", ("5-9", 0.9, False), ("0-4", 0.8, True), tiles)


def has_color(sheet: Image.Image, color: tuple[int, int, int]) -> bool:
    return color in {found for _, found in sheet.getcolors(maxcolors=2**24) or []}


def test_every_picture_is_on_the_sheet_whatever_its_size(tmp_path: Path) -> None:
    sections = [
        SheetSection("left", [row("#ff0000"), row("#00ff00", side=224)]),
        SheetSection("right", [row("#0000ff")]),
    ]
    save_sheet(draw_sheet("title", "subtitle", sections), tmp_path / "deep" / "sheet.png")
    with Image.open(tmp_path / "deep" / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert all(has_color(sheet, color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


def test_small_images_are_enlarged_without_mixing_pixels() -> None:
    checkers = Image.new("RGB", (2, 2), "#ffffff")
    checkers.putpixel((0, 0), (1, 2, 3))
    sample = SheetRow("a", "b", ("c", 1.0, True), ("d", 1.0, True), [checkers] * len(VIEWS))
    sheet = draw_sheet("", "", [SheetSection("", [sample])])
    counts = {color: count for count, color in sheet.getcolors(maxcolors=2**24) or []}
    assert counts[(1, 2, 3)] == len(VIEWS) * 48 * 48


def test_a_section_without_samples_takes_no_space() -> None:
    full = SheetSection("full", [row("#ff0000")])
    assert draw_sheet("", "", [full, SheetSection("empty", [])]).size == draw_sheet("", "", [full]).size


def test_conflicting_groups_are_those_that_are_rare_in_their_class() -> None:
    names = group_names(DATASET)
    assert [names[number] for number in conflicting_groups(DATASET)] == ["0-4 · square=no", "5-9 · square=yes"]
