"""The forms in which data sets come, in the order in which they are tried."""

from __future__ import annotations

from functools import partial

from masktune_core.intake.findings import Findings
from masktune_core.intake.layouts import backgrounds, celeba, class_folders, metadata_csv, split_folders, waterbirds
from masktune_core.intake.layouts.celeba import CelebaOptions
from masktune_core.intake.members import Source
from masktune_core.intake.plan import Draft
from masktune_core.intake.tree import roots


def read_layout(source: Source, findings: Findings, *, seed: int, options: CelebaOptions) -> Draft:
    """Recognise the layout, at the top of the archive or inside its single top folder, and read it.

    Raises `ArchiveError` (`layout_unknown`) if it is none of the known ones.
    """
    layouts = (
        (metadata_csv.recognises, metadata_csv.read),
        (waterbirds.recognises, waterbirds.read),
        (celeba.recognises, partial(celeba.read, options=options)),
        (backgrounds.recognises, backgrounds.read),
        (split_folders.recognises, split_folders.read),
        (class_folders.recognises, partial(class_folders.read, seed=seed)),
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
        "or sort the images into folders split/class/image or class/image",
    )
