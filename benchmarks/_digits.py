"""A full MNIST for the benchmarks that want one; without it they make do with the digits that ship with the project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

DIGITS: Final = "MNIST_FOLDER"


def full_mnist() -> Path | None:
    """The folder of IDX files that `--digits` or the environment variable names; None without either.

    Raises `FileNotFoundError` for a folder that is not there.
    """
    named = os.environ.get(DIGITS, "")
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise FileNotFoundError(f"{DIGITS} is {named}, and there is no such folder")
    return folder
