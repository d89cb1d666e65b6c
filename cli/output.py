"""Where a command's words go: results on stdout, everything else so that `--json` keeps stdout machine-readable."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Output:
    """With `json` set, human text goes to stderr and each result is one JSON document on stdout."""

    json: bool
    human: Console

    @classmethod
    def make(cls, *, json: bool) -> Output:
        return cls(json=json, human=console(stderr=json))

    @classmethod
    def quiet(cls) -> Output:
        """Says nothing: for a process beside one that does the talking."""
        return cls(json=False, human=Console(quiet=True))

    def say(self, message: RenderableType = "") -> None:
        """Print something for a person; strings are printed as they are, without markup."""
        self.human.print(Text(message) if isinstance(message, str) else message, soft_wrap=isinstance(message, str))

    def result(self, value: Any, human: RenderableType | None = None) -> None:
        """Print a command's result: `value` as JSON, or `human` for a person."""
        if self.json:
            sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
            sys.stdout.flush()
        elif human is not None:
            self.say(human)


def console(*, stderr: bool = False) -> Console:
    """A console that does not fold lines when its output is read by a program rather than shown on a screen."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, highlight=False, width=max(_PLAIN_WIDTH, made.width))
    return made


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """Rows under headings; columns named in `right` are aligned to the right. An id is never folded, to be copied."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(
            name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in {"id", "sha256"}
        )
    for row in rows:
        made.add_row(*(Text("–" if cell is None else str(cell)) for cell in row))
    return made


def record(fields: Mapping[str, object]) -> Table:
    """One thing as a list of its fields."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in fields.items():
        shown = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else value
        made.add_row(Text(name), Text("–" if shown is None else str(shown)))
    return made


def size(count: int) -> str:
    """Bytes in binary units."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable")


def moment(value: object) -> str | None:
    """A time as the service writes it (ISO 8601, UTC), to the second."""
    return None if value is None else str(value)[:19].replace("T", " ")


def percent(value: float | None) -> str:
    """A share in [0, 1] as a percentage; null where it is undefined."""
    return "–" if value is None else f"{100 * value:.1f} %"
