"""The files of an archive below its root, as a layout looks at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from masktune_core.intake.members import Source

IMAGE_SUFFIXES: Final = frozenset(
    ("jpg", "jpeg", "jpe", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
)


class Tree:
    """Files by their name below `root`: "" or the single top folder that all lie in, with its slash.

    A file is known by its position in `source.members`, which is that of its name in sorted order.
    """

    def __init__(self, source: Source, root: str = "") -> None:
        self.source = source
        self.root = root

    @cached_property
    def images(self) -> NDArray[np.int64]:
        """Positions of the files whose names end like an image's."""
        names = self.source.members.names
        return np.fromiter((position for position, name in enumerate(names) if is_image(name)), np.int64)

    def name(self, position: int) -> str:
        """The name of the file at `position`, made anew each time: names of millions are not held twice."""
        return self.source.members.names[position][len(self.root) :]

    def names(self) -> Iterator[str]:
        """All names, in order."""
        return (name[len(self.root) :] for name in self.source.members.names)

    def named_images(self) -> Iterator[tuple[int, str]]:
        """(position, name) of each image, in order."""
        return ((position, self.name(position)) for position in self.images.tolist())

    def find(self, name: str) -> int | None:
        """The position of a file; None if there is none of that name."""
        return self.source.members.find(self.root + name)

    def nearest(self, filename: str) -> str | None:
        """The name of the file called so, wherever it lies; see `nearest_to_top`."""
        return nearest_to_top(self.names(), filename)

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None

    def __len__(self) -> int:
        return len(self.source.members)

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises `MemberError`, `KeyError`."""
        position = self.find(name)
        if position is None:
            raise KeyError(name)
        return self.source.read(position)


def nearest_to_top(names: Iterable[str], filename: str) -> str | None:
    """The file called so that lies in the fewest folders; None if there is none."""
    found = (name for name in names if name.endswith(filename) and (name == filename or name.endswith("/" + filename)))
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def roots(source: Source) -> list[Tree]:
    """The archive itself, and the inside of its one top folder if everything lies in one."""
    trees = [Tree(source)]
    names = source.members.names
    top = names[0].partition("/")[0] + "/" if names else ""
    if names and all(name.startswith(top) for name in names):
        trees.append(Tree(source, top))
    return trees


def is_image(name: str) -> bool:
    """Whether the name ends like an image's."""
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES
