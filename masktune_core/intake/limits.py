"""How much an upload may make us do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from masktune_core.config import MOST_CLASSES

# Below this an archive may expand as much as it likes: a few black bitmaps are no bomb.
RATIO_FREE_BYTES: Final = 64 * 2**20
# Files beside the images: tables, read-mes, licences.
OTHER_FILES: Final = 10_000


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Bounds on an uploaded archive; crossing one is an `ArchiveError` that names it.

    - `max_images`: files in the archive.
    - `max_classes`: different labels; a label names a kind of images.
    - `max_groups`: classes × values of an attribute; one that makes more is no error, but left out with a warning.
    - `max_pixels`: width × height of one image; Pillow itself refuses more than 178,956,970.
    - `max_total_bytes`: all files together, unpacked.
    - `max_entry_bytes`: one file, unpacked.
    - `max_ratio`: unpacked over packed bytes of the whole archive, once it unpacks to more than 64 MiB.
    - `max_output_bytes`: the normalised archive. Images that are rewritten as PNG take many times what they took.
    - `min_free_bytes`: what must stay free on the disk while intake writes to it; crossed, it is `OutOfDisk`.
    - `max_decoding_bytes`: memory for the images that are decoded at the same time. A single image may need more: it
      is decoded alone then.
    """

    max_images: int = 2_000_000
    max_classes: int = MOST_CLASSES
    max_groups: int = 10_000
    max_pixels: int = 50_000_000
    max_total_bytes: int = 200 * 2**30
    max_entry_bytes: int = 256 * 2**20
    max_ratio: float = 200.0
    max_output_bytes: int = 200 * 2**30
    min_free_bytes: int = 0
    max_decoding_bytes: int = 2**30
