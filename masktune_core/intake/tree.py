"""The files of an archive below its root, as a layout looks at them."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from masktune_core.intake.members import Member, Source

IMAGE_SUFFIXES: Final = frozenset(
    ("jpg", "jpeg", "jpe", "png", "bmp", "gif", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm")
)


class Tree:
    """Files by their name below `root`: "" or a single top folder with its slash."""

    def __init__(self, source: Source, root: str = "") -> None:
        self.source = source
        self.root = root
        self.files: dict[str, Member] = {name[len(root) :]: member for name, member in source.members.items()}

    @cached_property
    def images(self) -> list[str]:
        """Names that end like an image's, sorted."""
        return sorted(name for name in self.files if is_image(name))

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises `MemberError`."""
        return self.source.read(self.files[name])


def roots(source: Source) -> list[Tree]:
    """The archive itself, and the inside of its one top folder if everything lies in one."""
    trees = [Tree(source)]
    tops = {name.split("/", 1)[0] for name in source.members}
    if len(tops) == 1 and all("/" in name for name in source.members):
        trees.append(Tree(source, f"{tops.pop()}/"))
    return trees


def is_image(name: str) -> bool:
    """Whether the name ends like an image's."""
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES
