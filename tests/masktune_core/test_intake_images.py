"""Images of every kind become 8-bit RGB; those that are it already stay byte for byte."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from masktune_core.data.dataset import Dataset
from masktune_core.intake import normalise
from masktune_core.intake.images import CONVERSIONS, ImageError, prepare_image
from tests.masktune_core.archives import encoded, picture, png, table, two_classes, zip_bytes

PIXELS = 1_000_000
RGB = Image.fromarray(picture(1, 6, 9))
GREY = RGB.convert("L")


def decode(content: bytes) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.mode) == ("PNG", "RGB")
    return np.asarray(image)


@pytest.mark.parametrize(
    "content",
    [
        encoded(RGB, "png"),
        encoded(RGB, "png", compress_level=0),
        encoded(RGB, "jpeg"),
        encoded(RGB, "jpeg", quality=100, subsampling=0),
    ],
)
def test_rgb_is_passed_through_byte_for_byte(content: bytes) -> None:
    prepared = prepare_image(content, PIXELS)
    assert prepared.encoded == content
    assert (prepared.height, prepared.width, prepared.conversions) == (6, 9, ())


def sixteen_bit_png(values: NDArray[np.uint16]) -> bytes:
    """An RGB PNG (H, W, 3) with 16 bits per channel, which Pillow cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def two_byte_bmp(pixels: NDArray[np.uint16]) -> bytes:
    """A BMP (H, W) of 16 bits a pixel: 5 red, 6 green, 5 blue. W must be even."""
    height, width = pixels.shape
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, 2 * pixels.size, 0, 0, 0, 0) + masks
    start = 14 + len(header)
    head = b"BM" + struct.pack("<IHHI", start + 2 * pixels.size, 0, 0, start)
    return head + header + pixels[::-1].astype("<u2").tobytes()


DEEP = np.random.default_rng(0).integers(0, 2**16, (6, 9, 3), dtype=np.uint16)
RGBA = RGB.copy()
RGBA.putalpha(GREY)
PALETTE = RGB.quantize(16)
ROTATED = Image.Exif()
ROTATED[0x0112] = 6
CASES: list[tuple[str, bytes, tuple[str, ...], NDArray[np.uint8]]] = [
    ("grey png", encoded(GREY, "png"), ("image_grey",), np.asarray(GREY.convert("RGB"))),
    (
        "black and white",
        encoded(GREY.convert("1"), "png"),
        ("image_grey",),
        np.asarray(GREY.convert("1").convert("RGB")),
    ),
    ("rgba", encoded(RGBA, "png"), ("image_alpha",), np.asarray(RGB)),
    (
        "grey and alpha",
        encoded(RGBA.convert("LA"), "png"),
        ("image_grey", "image_alpha"),
        np.asarray(GREY.convert("RGB")),
    ),
    ("one colour transparent", encoded(RGB, "png", transparency=(1, 2, 3)), ("image_alpha",), np.asarray(RGB)),
    ("cmyk tiff", encoded(RGB.convert("CMYK"), "tiff"), ("image_cmyk",), np.asarray(RGB)),
    ("palette png", encoded(PALETTE, "png"), ("image_palette",), np.asarray(PALETTE.convert("RGB"))),
    (
        "transparent palette",
        encoded(PALETTE, "png", transparency=bytes(range(16))),
        ("image_alpha", "image_palette"),
        np.asarray(PALETTE.convert("RGB")),
    ),
    (
        "16-bit grey",
        encoded(Image.fromarray(DEEP[:, :, 0]), "png"),
        ("image_grey", "image_16bit"),
        np.repeat((DEEP[:, :, :1] >> 8).astype(np.uint8), 3, axis=2),
    ),
    (
        "16-bit grey tiff",
        encoded(Image.fromarray(DEEP[:, :, 0]), "tiff"),
        ("image_grey", "image_16bit"),
        np.repeat((DEEP[:, :, :1] >> 8).astype(np.uint8), 3, axis=2),
    ),
    ("16-bit rgb", sixteen_bit_png(DEEP), ("image_16bit",), (DEEP >> 8).astype(np.uint8)),
    ("rotated png", encoded(RGB, "png", exif=ROTATED), ("image_rotated",), np.rot90(np.asarray(RGB), -1)),
    (
        "animated png",
        encoded(RGB, "png", save_all=True, append_images=[GREY.convert("RGB")]),
        ("image_animated",),
        np.asarray(RGB),
    ),
    (
        "animated webp",
        encoded(RGB, "webp", lossless=True, save_all=True, append_images=[GREY.convert("RGB")]),
        ("image_animated",),
        np.asarray(RGB),
    ),
    ("webp", encoded(RGB, "webp", lossless=True), ("image_format",), np.asarray(RGB)),
    ("bmp", encoded(RGB, "bmp"), ("image_format",), np.asarray(RGB)),
    # Rows of 16 bytes, and pixels of 16 bits: nothing of 16 bits a channel.
    ("bmp of five pixels a row", encoded(RGB.crop((0, 0, 5, 6)), "bmp"), ("image_format",), np.asarray(RGB)[:, :5]),
    (
        "bmp of 16 bits a pixel",
        two_byte_bmp(np.array([[0xF800, 0x07E0], [0x001F, 0xFFFF]], dtype=np.uint16)),
        ("image_format",),
        np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8),
    ),
    (
        "16-bit ppm of grey",
        b"P5 9 6 65535\n" + DEEP[:, :, 0].astype(">u2").tobytes(),
        ("image_grey", "image_16bit"),
        np.repeat((DEEP[:, :, :1] >> 8).astype(np.uint8), 3, axis=2),
    ),
    ("tiff", encoded(RGB, "tiff"), ("image_format",), np.asarray(RGB)),
    ("ppm", encoded(RGB, "ppm"), ("image_format",), np.asarray(RGB)),
]


@pytest.mark.parametrize(("content", "conversions", "pixels"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_everything_else_is_converted_and_said_so(
    content: bytes, conversions: tuple[str, ...], pixels: NDArray[np.uint8]
) -> None:
    prepared = prepare_image(content, PIXELS)
    assert set(prepared.conversions) == set(conversions)
    assert (decode(prepared.encoded) == pixels).all()
    assert (prepared.height, prepared.width) == pixels.shape[:2]
    assert prepare_image(content, PIXELS) == prepared
    again = prepare_image(prepared.encoded, PIXELS)
    assert (again.encoded, again.conversions) == (prepared.encoded, ())


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(RGB, "jpeg", exif=exif)
    prepared = prepare_image(content, PIXELS)
    assert prepared.conversions == ("image_rotated",)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (decode(prepared.encoded) == np.asarray(upright)).all()


@pytest.mark.parametrize(
    ("image", "options", "conversion"),
    [
        (GREY, {}, "image_grey"),
        (RGB.convert("CMYK"), {}, "image_cmyk"),
        (RGB, {"progressive": True}, "image_format"),
    ],
)
def test_other_jpegs_are_converted_to_what_they_show(
    image: Image.Image, options: dict[str, bool], conversion: str
) -> None:
    content = encoded(image, "jpeg", **options)
    prepared = prepare_image(content, PIXELS)
    assert prepared.conversions == (conversion,)
    assert (decode(prepared.encoded) == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()


def overwritten(content: bytes) -> bytes:
    """With zeros in the middle."""
    return content[:60] + bytes(140) + content[200:]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        png(picture())[:60],
        overwritten(encoded(Image.fromarray(picture(1, 30, 30)), "png")),
        overwritten(encoded(Image.fromarray(picture(1, 30, 30)), "bmp")[:-900]),
        encoded(RGB, "jpeg")[:-30],
        encoded(RGB, "gif")[:20],
        encoded(Image.fromarray(np.zeros((4, 4), dtype=np.float32)), "tiff"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
)
def test_what_does_not_decode_is_corrupt(content: bytes) -> None:
    with pytest.raises(ImageError) as error:
        prepare_image(content, PIXELS)
    assert error.value.code == "image_corrupt"


def test_size_is_judged_before_pixels_are_decoded() -> None:
    content = bytearray(png(picture()))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises(ImageError) as error:
        prepare_image(bytes(content), PIXELS)
    assert error.value.code == "image_too_large"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([case[1] for case in CASES]), st.data())
def test_any_damage_gives_an_image_or_an_image_error(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        prepared = prepare_image(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), PIXELS)
    except ImageError as error:
        problem = error.code
    else:
        problem = ""
        assert np.asarray(Image.open(io.BytesIO(prepared.encoded))).shape == (prepared.height, prepared.width, 3)
    assert problem in ("", "image_corrupt", "image_too_large")


def test_a_data_set_reports_conversions_by_kind_and_reads_back_as_rgb(tmp_path: Path) -> None:
    files = two_classes()
    files["train/0.png"] = encoded(RGBA, "png")
    files["train/1.png"] = encoded(GREY, "png")
    files["val/0.png"] = encoded(GREY, "bmp")
    (tmp_path / "upload").write_bytes(zip_bytes(files))
    report = normalise(tmp_path / "upload", tmp_path / "n.zip")
    found = {problem.code: problem for problem in report.problems}
    assert found.keys() == {"image_alpha", "image_grey"}
    assert report.total == 2
    assert found["image_grey"].where == "train/1.png"
    assert found["image_grey"].message == f"2 images: {CONVERSIONS['image_grey']}"
    assert found["image_alpha"].message == f"1 image: {CONVERSIONS['image_alpha']}"
    assert all(problem.severity == "converted" for problem in report.problems)
    with Dataset.open(tmp_path / "n.zip") as dataset:
        assert (dataset.read(dataset.index.names.index("train/0.png")) == np.asarray(RGB)).all()
        for index in range(len(dataset)):
            assert dataset.read(index).shape == (*dataset.sizes[index], 3)


def test_a_converted_file_of_another_format_gets_a_name_that_is_free(tmp_path: Path) -> None:
    files = {
        f"{split}/{label}/{name}": content
        for split in ("train", "test", "val")
        for label in "ab"
        for name, content in (
            ("0.bmp", encoded(RGB, "bmp")),
            ("0.bmp.png", png(picture(2))),
            ("1.JPG", encoded(RGB, "jpeg")),
        )
    }
    (tmp_path / "upload").write_bytes(zip_bytes(files))
    names = normalise(tmp_path / "upload", tmp_path / "n.zip").index.names
    assert names[:3] == ["test/a/0.bmp.2.png", "test/a/0.bmp.png", "test/a/1.JPG"]
    assert len(set(names)) == len(names)


def test_a_name_that_another_image_will_get_is_not_free(tmp_path: Path) -> None:
    bmp = encoded(RGB, "bmp")
    names = ["a.bmp", "a.bmp.png", "a.bmp.2", "A.bmp.2.PNG.bmp", "b.bmp", "c.bmp"]
    rows = [(name, "xy"[i % 2], "test" if i > 3 else "train") for i, name in enumerate(names)]
    files = {name: png(picture(2)) if name.endswith(".png") else bmp for name in names}
    (tmp_path / "upload").write_bytes(zip_bytes(files | {"metadata.csv": table(rows)}))
    made = normalise(tmp_path / "upload", tmp_path / "n.zip").index.names
    assert sorted(made) == [
        "A.bmp.2.PNG.bmp.png",
        "a.bmp.2.png",
        "a.bmp.3.png",
        "a.bmp.png",
        "b.bmp.png",
        "c.bmp.png",
    ]


def test_every_corrupt_image_is_named(tmp_path: Path) -> None:
    from masktune_core.errors import ArchiveError

    files = two_classes() | {"train/2.png": b"broken", "val/3.png": png(picture())[:70]}
    (tmp_path / "upload").write_bytes(zip_bytes(files))
    with pytest.raises(ArchiveError) as error:
        normalise(tmp_path / "upload", tmp_path / "n.zip")
    assert [(p.code, p.where) for p in error.value.problems] == [
        ("image_corrupt", "train/2.png"),
        ("image_corrupt", "val/3.png"),
    ]
