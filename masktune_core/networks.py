"""What is known of a network without torch: which input sizes it takes, and where it can be explained.

Read from `masktune_core/models/networks.txt`, which `python -m masktune_core.models.networks` writes. A line for each
network, with tabs between its columns:

    architecture, sizes that it takes (`224`: only this one, `32-`: from there on, `?`: no rule is known), the size that
    it is made for, the least size at which its CAM layer has more than one cell (`?`: not known), `batch` with batch
    normalisation, the CAM layer, the names of its parts

A tested network is followed by lines that begin with a tab: a least size, and the layers that need it to have more than
one cell. Together these are all layers that can be explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

SMALLEST: Final = 8  # px; the least `input.size`


@dataclass(frozen=True, slots=True)
class Network:
    """Sizes are sides of the square input, px.

    `own` is what it is made for; a `fixed` one takes no other; otherwise it takes inputs from `smallest` on (None: not
    known). `least`: from here on the CAM layer has a grid of more than one cell (None: not known). `layers`: for each
    layer that can be explained the same; None for a network that is not tested, of which only its `parts` are known.
    """

    own: int
    fixed: bool
    smallest: int | None
    least: int | None
    batch_norm: bool
    cam_layer: str
    parts: tuple[str, ...]
    layers: Mapping[str, int] | None


def network(architecture: str) -> Network | None:
    """What is known of `architecture`, whatever its tag; None for nothing.

    >>> network("resnet18").least, network("resnet18").layers["layer3.1"]
    (33, 17)
    """
    return _networks().get(architecture.partition(".")[0])


@cache
def _networks() -> Mapping[str, Network]:
    text = resources.files("masktune_core").joinpath("models", "networks.txt").read_text(encoding="utf-8")
    layers: dict[str, dict[str, int]] = {}
    lines: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        first, *columns = line.split("\t")
        if first.startswith("#"):
            continue
        if first:
            name = first
            lines[name] = columns
        else:
            least, *names = columns
            layers.setdefault(name, {}).update(dict.fromkeys(names, int(least)))
    return {name: _network(columns, layers.get(name)) for name, columns in lines.items()}


def _network(columns: list[str], layers: Mapping[str, int] | None) -> Network:
    sizes, own, least, norm, cam_layer, parts = columns
    return Network(
        own=int(own),
        fixed=sizes.isdigit(),
        smallest=int(sizes[:-1]) if sizes.endswith("-") else None,
        least=None if least == "?" else int(least),
        batch_norm=norm == "batch",
        cam_layer=cam_layer,
        parts=tuple(parts.split(",")),
        layers=layers,
    )
