"""Images that mean harm, or are broken."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from tests.masktune_core.archives import encoded, picture, png


def refused() -> dict[str, tuple[bytes, str]]:
    """Name → (file, the code it must be refused with)."""
    rgb = Image.fromarray(picture(0, 32, 32))
    whole = {kind: encoded(rgb, kind) for kind in ("png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm")}
    corpus: dict[str, tuple[bytes, str]] = {
        "png of 60,000 by 60,000": (_sized(60_000, 60_000), "image_too_large"),
        "png of 2 billion by 1": (_sized(2**31 - 1, 1), "image_too_large"),
        "png of no width": (_sized(0, 8), "image_corrupt"),
        "png of no height": (_sized(8, 0), "image_corrupt"),
        "nothing": (b"", "image_corrupt"),
        "text": (b"no image", "image_corrupt"),
        "html": (b"<html><script>alert(1)</script></html>", "image_corrupt"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "image_corrupt"),
        "eps, which a decoder would run": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image_corrupt"),
        "pdf": (b"%PDF-1.7\n", "image_corrupt"),
        "psd": (b"8BPS\x00\x01" + bytes(60), "image_corrupt"),
        "ico": (encoded(rgb, "ico"), "image_corrupt"),
        "tga": (encoded(rgb, "tga"), "image_corrupt"),
        "sgi": (encoded(rgb, "sgi"), "image_corrupt"),
        "pcx": (encoded(rgb, "pcx"), "image_corrupt"),
        "jpeg 2000": (encoded(rgb, "jpeg2000"), "image_corrupt"),
        "ppm of endless size": (b"P6 99999 99999 255\n" + bytes(99), "image_too_large"),
    }
    for kind, content in whole.items():
        for share in (0.1, 0.5, 0.9):
            corpus[f"{kind} cut at {share:.0%}"] = (content[: int(len(content) * share)], "image_corrupt")
    return corpus


def harmless() -> dict[str, bytes]:
    """Name → an image that is odd and taken."""
    return {
        "bytes behind the image": png(picture(0, 32, 32)) + b"<?php system('id') ?>",
        "thousands of frames": _animated(),
    }


def _sized(width: int, height: int) -> bytes:
    content = bytearray(png(picture()))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def _animated() -> bytes:
    frames = [Image.new("P", (4, 4), number % 2) for number in range(2000)]
    return encoded(frames[0], "gif", save_all=True, append_images=frames[1:], optimize=False)
