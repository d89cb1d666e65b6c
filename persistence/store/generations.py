"""How an object's generation stands in its name: `<hash>` for the first one, `<hash>.<n>` for a later one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from persistence.store.verified import require_hash

_NAME: Final = re.compile(r"([0-9a-f]{64})(?:\.([1-9][0-9]{0,9}))?")


def name_of(sha256: str, generation: int) -> str:
    """The last part of a path or key. Raises `ObjectMissing` for what is no hash."""
    require_hash(sha256)
    return f"{sha256}.{generation}" if generation else sha256


def parse(name: str) -> tuple[str, int] | None:
    """Hash and generation; None for a name that no object has."""
    found = _NAME.fullmatch(name)
    return None if found is None else (found[1], int(found[2] or 0))


def newest(names: Iterable[str], sha256: str) -> int | None:
    """The highest generation of an object among names; None when it is not there."""
    found = [parsed[1] for name in names if (parsed := parse(name)) is not None and parsed[0] == sha256]
    return max(found, default=None)
