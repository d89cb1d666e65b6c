"""What a user may have uploaded who meant a published data set, and how it becomes one."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from masktune_core.intake.tree import Tree, is_image

_MAKE: Final = "masktune datasets make"
# A file that gives a download away, and what to do with it. The first that fits is told.
_SIGNS: Final = (
    (r"(.*/)?PetImages/(Cat|Dog)/.+", f"Microsoft's Cats vs Dogs has files that are no images: `{_MAKE} catsvsdogs`"),
    (r"(.*/)?(train|test1)\.zip", f"upload Kaggle's train.zip by itself, or pack it with `{_MAKE} catsvsdogs`"),
    (
        r"(.*/)?(cat|dog)\.[0-9]+\.jpg",
        f"for Kaggle's Cats vs Dogs upload its whole train.zip, or use `{_MAKE} catsvsdogs`",
    ),
    (r"(.*/)?(list_attr_celeba\.txt|img_align_celeba\.zip)", f"pack CelebA with `{_MAKE} celeba`"),
    (r"(.*/)?[^/]*-idx[13]-ubyte(\.gz)?", f"pack MNIST with `{_MAKE} biased-mnist --digits FOLDER`"),
    (
        r"(.*/)?(cifar-10-[^/]*\.tar\.gz|data_batch_[1-5](\.bin)?|test_batch(\.bin)?)",
        f"pack CIFAR-10 with `{_MAKE} cifar10`",
    ),
    (r"(.*/)?([^/]*_32x32|digitStruct)\.mat", f"pack SVHN's cropped digits, train and test, with `{_MAKE} svhn`"),
    (
        r"(.*/)?[^/]+\.(zip|tar|gz|tgz|zst|7z|rar)",
        "archives inside the archive are not unpacked: upload what is in them",
    ),
)
_IMAGES_LOOKED_AT: Final = 1000
_ELSE: Final = f"`{_MAKE} --help` lists the published data sets that it packs from their downloads"


def hint(tree: Tree) -> str:
    """The way out for an archive that is none of the layouts, or has a single class."""
    others = (name for name in tree.names() if not is_image(name))
    images = (name for _, name in islice(tree.named_images(), _IMAGES_LOOKED_AT))
    names = [*others, *images]
    for pattern, way_out in _SIGNS:
        sign = re.compile(pattern, re.IGNORECASE)
        if any(sign.fullmatch(name) for name in names):
            return way_out
    return _ELSE
