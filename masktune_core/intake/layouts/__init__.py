"""The forms in which data sets come, in the order in which they are tried."""

from __future__ import annotations

from functools import partial

from masktune_core.config_intake import IntakeOptions
from masktune_core.intake.findings import Findings
from masktune_core.intake.hints import hint
from masktune_core.intake.layouts import (
    backgrounds,
    cats_vs_dogs,
    celeba,
    cifar10,
    class_folders,
    metadata_csv,
    split_folders,
    svhn,
    waterbirds,
)
from masktune_core.intake.members import Source
from masktune_core.intake.plan import Draft
from masktune_core.intake.tree import roots


def read_layout(source: Source, findings: Findings, options: IntakeOptions) -> Draft:
    """Recognise the layout, at the top of the archive or inside its single top folder, and read it.

    Raises `ArchiveError` (`layout_unknown`) if it is none of the known ones.
    """
    layouts = (
        (metadata_csv.recognises, metadata_csv.read),
        (waterbirds.recognises, waterbirds.read),
        (celeba.recognises, partial(celeba.read, options=options.celeba)),
        (backgrounds.recognises, backgrounds.read),
        (cifar10.recognises, partial(cifar10.read, seed=options.seed)),
        (svhn.recognises, partial(svhn.read, seed=options.seed)),
        (split_folders.recognises, split_folders.read),
        (cats_vs_dogs.recognises, partial(cats_vs_dogs.read, seed=options.seed)),
        (class_folders.recognises, partial(class_folders.read, seed=options.seed)),
    )
    trees = roots(source)
    for recognises, read in layouts:
        for tree in trees:
            if recognises(tree):
                return read(tree, findings)
    raise findings.fatal(
        "layout_unknown",
        "",
        "the layout is none of the known ones: add a metadata.csv with file_name,label,split, "
        f"or sort the images into folders split/class/image or class/image; {hint(trees[0])}",
    )
