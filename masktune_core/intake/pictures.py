"""Data sets that come as arrays of pixels instead of image files: given names, splits, and PNG files on request."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from masktune_core.intake.members import Members
from masktune_core.intake.plan import Draft
from masktune_core.intake.splits import hold_out
from masktune_core.intake.tree import Tree

HELD_OUT: Final = 0.2
"""Share of each class's training images that are for validation, where nobody says otherwise."""


class Part(NamedTuple):
    """`images` uint8 (N, H, W, 3) RGB and the class of each, `labels` int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Picture(NamedTuple):
    """One image: its name, split and class, and its pixels (H, W, 3)."""

    name: str
    split: str
    label: str
    pixels: NDArray[np.uint8]

    def as_png(self) -> bytes:
        """The image as a file."""
        encoded = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(self.pixels)).save(encoded, "png")
        return encoded.getvalue()


def arranged(train: Part, test: Part, classes: Sequence[str], *, val: float, seed: int) -> list[Picture]:
    """All images of train, val (the share `val` of each class's training images, drawn by `seed`) and test, in that
    order, under names like `train/cat/000017.png`."""
    held = hold_out(train.labels, val, seed=seed)
    splits = (
        ("train", train, np.flatnonzero(~held)),
        ("val", train, np.flatnonzero(held)),
        ("test", test, np.arange(len(test.labels))),
    )
    return [
        Picture(f"{split}/{classes[label]}/{number:06d}.png", split, classes[label], part.images[position])
        for split, part, positions in splits
        for number, (position, label) in enumerate(zip(positions, part.labels[positions].tolist(), strict=True))
    ]


class PictureSource:
    """Pictures as files of an archive; see `Source`. They are encoded as they are read."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures
        names, sizes = [picture.name for picture in pictures], [picture.pixels.nbytes for picture in pictures]
        self.members = Members.sorted(names, sizes, range(len(pictures)))

    def read(self, position: int) -> bytes:
        """See `Source.read`; the size is that of the pixels."""
        return self._pictures[int(self.members.places[position])].as_png()


def draft_of(layout: str, pictures: Sequence[Picture], classes: tuple[str, ...]) -> Draft:
    """The draft of a data set that is all pictures."""
    source = PictureSource(pictures)
    draft = Draft(layout, Tree(source), classes=classes)
    for position, place in enumerate(source.members.places.tolist()):
        draft.add(position, pictures[place].split, pictures[place].label)
    return draft
