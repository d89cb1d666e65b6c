"""Names for the PNG files that are made from others."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from masktune_core.intake.names import collision_key
from masktune_core.intake.plan import Plan

_SUFFIX = ".png"


class PngNames:
    """Finds names that no image of a plan has, nor gets. Holds eight bytes an image, and that only if one is needed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbered: set[str] = set()

    def free(self, name: str) -> str:
        """A name for the PNG made from `name`: itself if it ends so, else with .png behind, numbered if need be."""
        if name.lower().endswith(_SUFFIX):
            return name
        candidate, number = f"{name}{_SUFFIX}", 2
        while self._is_taken(candidate, numbered=number > 2):
            candidate, number = f"{name}.{number}{_SUFFIX}", number + 1
        if number > 2:
            self._numbered.add(collision_key(candidate))
        return candidate

    def _is_taken(self, candidate: str, *, numbered: bool) -> bool:
        key = collision_key(candidate)
        # A numbered name may be the plain one of another image: of "a.bmp.2" beside "a.bmp" and "a.bmp.png".
        for_another = numbered and self._is_planned(collision_key(candidate.removesuffix(_SUFFIX)))
        return key in self._numbered or for_another or self._is_planned(key)

    def _is_planned(self, key: str) -> bool:
        at = int(np.searchsorted(self._hashes, hash(key)))
        return at < len(self._hashes) and bool(self._hashes[at] == hash(key))

    @cached_property
    def _hashes(self) -> NDArray[np.int64]:
        """Of the names' keys, sorted. Two names of one hash are as good as impossible, and would cost a number only."""
        keys = (collision_key(name) for name in self._plan.names())
        return np.sort(np.fromiter(map(hash, keys), np.int64, len(self._plan)))
