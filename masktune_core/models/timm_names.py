"""Write the list of timm models that work here, for checks without torch: `python -m masktune_core.models.timm_names`.

A name is listed if the installed timm builds it, its CAM layer is found, and an image of its own input size gives a
grid of more than one cell. All this runs on torch's meta device: shapes without numbers, so no weights and no time.
"""

from __future__ import annotations

import logging
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import timm
import torch

from masktune_core.errors import MaskTuneError
from masktune_core.saliency.cam_grid import cam_grid

PATH: Final = Path(__file__).with_suffix(".txt")
log = logging.getLogger(__name__)


def explainable(name: str) -> bool:
    """Whether timm's model `name` can be built, and explained at its own input size. Logs why not."""
    try:
        with torch.device("meta"):
            model: Any = timm.create_model(name, num_classes=2)
        size = max(model.default_cfg["input_size"][1:])
        cam_grid(model, size)
    except (MaskTuneError, AttributeError, AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        log.info("%s left out: %s", name, str(error).splitlines()[0])
        return False
    return True


def tags_by_name() -> dict[str, list[str]]:
    """The tags of each model's pretrained weights, timm's own choice first."""
    tags: dict[str, list[str]] = defaultdict(list)
    for pretrained in timm.list_pretrained():
        name, _, tag = pretrained.partition(".")
        tags[name].append(tag)
    for name, known in tags.items():
        default = timm.models.get_pretrained_cfg(name)
        known.sort(key=lambda tag: default is None or tag != default.tag)
    return tags


def main() -> None:
    """Check every name, and write the file beside this one."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.simplefilter("ignore")
    tags = tags_by_name()
    lines = [
        f"# timm {timm.__version__}: model, then the tags of its pretrained weights, timm's choice first. Written by",
        "# python -m masktune_core.models.timm_names",
    ]
    lines += [" ".join([name, *tags[name]]).strip() for name in timm.list_models() if explainable(name)]
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")
    log.info("%d models in %s", len(lines) - 2, PATH)


if __name__ == "__main__":
    main()
