"""Write `deploy/constraints.txt`: the exact versions of everything that the images install, for the images' Python.

`make constraints`, after `make install` in a fresh environment and a green `make test`. uv resolves for the Python that
the Dockerfiles name, whatever Python this environment has, and takes the versions that are installed here wherever
they exist for it: those were tested. Versions of builds (torch's `+cpu`) are left off: the images take the index's
plain ones, and the CUDA libraries with them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

FOLDER: Final = Path(__file__).resolve().parent
EXTRAS: Final = ("api", "worker")
PLATFORM: Final = "x86_64-manylinux_2_28"
_BASE: Final = re.compile(r"^FROM python:(3\.\d+)", re.MULTILINE)


def images_python(folder: Path = FOLDER) -> str:
    """The Python version of all images, such as 3.13. Raises `ValueError` if they differ."""
    found: set[str] = {
        version
        for dockerfile in folder.glob("*.Dockerfile")
        for version in _BASE.findall(dockerfile.read_text(encoding="utf-8"))
    }
    if len(found) != 1:
        raise ValueError(f"the images' stages use Python {', '.join(sorted(found))}: use one")
    return found.pop()


def head(python: str) -> str:
    """The file's first line, which says what it is for."""
    return f"# Made by `make constraints` for Python {python} on {PLATFORM}; the images install these versions.\n"


def installed() -> str:
    """What this environment has, in the form of requirements."""
    versions = {canonicalize_name(found.name): found.version.partition("+")[0] for found in distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def constraints(python: str) -> str:
    """The file's content."""
    with tempfile.TemporaryDirectory() as folder:
        resolved = Path(folder) / "constraints.txt"
        resolved.write_text(installed(), encoding="utf-8")  # What stands in the output before is preferred.
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", str(FOLDER.parent / "pyproject.toml")]
        command += [f"--extra={extra}" for extra in EXTRAS]
        command += [f"--python-version={python}", f"--python-platform={PLATFORM}"]
        command += ["--no-annotate", "--no-header", "--output-file", str(resolved)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return head(python) + resolved.read_text(encoding="utf-8")


if __name__ == "__main__":
    (FOLDER / "constraints.txt").write_text(constraints(images_python()), encoding="utf-8")
