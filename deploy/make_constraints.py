"""Write `deploy/constraints.txt`: the versions of everything that the images install, as this environment has them.

`make constraints`, after `make install` in a fresh environment and a green `make test`. Versions of builds (torch's
`+cpu`) are left off: the images take the index's plain ones. CUDA libraries follow from torch.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "masktune-service"
EXTRAS = ("api", "worker")
HEAD = "# Made by `make constraints`; the images install these versions. See docs/security.md.\n"


def closure(name: str, extras: frozenset[str], seen: dict[str, str], done: set[tuple[str, frozenset[str]]]) -> None:
    """Add to `seen` the version of each distribution that `name[extras]` needs here."""
    if (name, extras) in done:
        return
    done.add((name, extras))
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return  # For another platform or Python.
    if name != OURS:
        seen[name] = found.version.partition("+")[0]
    for text in found.requires or ():
        requirement = Requirement(text)
        if any(requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            closure(canonicalize_name(requirement.name), frozenset(requirement.extras), seen, done)


def constraints() -> str:
    """The file's content."""
    seen: dict[str, str] = {}
    closure(OURS, frozenset(EXTRAS), seen, set())
    return HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(seen.items()))


if __name__ == "__main__":
    Path(__file__).with_name("constraints.txt").write_text(constraints(), encoding="utf-8")
    sys.exit(0)
