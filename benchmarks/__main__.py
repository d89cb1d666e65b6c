"""`python -m benchmarks`: find every benchmark in this folder, run them one after another, print one table.

The exit status is 1 when a goal is missed or a benchmark fails to run, so that a regression is not overlooked.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import cast

import benchmarks
from benchmarks._digits import DIGITS
from benchmarks.table import Row, cells, markdown, verdict

Benchmark = Callable[[bool], list[Row]]
NOT_BENCHMARKS = frozenset({"authors_way", "table"})


def names() -> list[str]:
    """Modules of this folder that hold a benchmark, sorted."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name not in NOT_BENCHMARKS and not module.name.startswith("_")
    )


def load(name: str) -> Benchmark:
    """The `run` of one benchmark module; `AttributeError` if it has none."""
    return cast("Benchmark", importlib.import_module(f"benchmarks.{name}").run)


def describe_machine() -> str:
    """What the numbers were taken on, the GPU included."""
    from benchmarks._device import card  # it imports torch, which reads its environment then

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    described = f"{platform.machine()}, {cores} CPU cores, {platform.system()}, Python {platform.python_version()}"
    return f"{described}, {card() or 'no GPU'}"


def run_all(selected: Sequence[str], *, quick: bool) -> tuple[list[Row], list[str]]:
    """Run the named benchmarks; returns their rows, and the names of those that raised (the traceback is on stderr)."""
    rows: list[Row] = []
    failed: list[str] = []
    for name in selected:
        print(f"{name} …", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            found = load(name)(quick)
        except Exception:  # noqa: BLE001 - one benchmark that breaks must not hide the numbers of the others
            traceback.print_exc()
            failed.append(name)
            continue
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        rows.extend(found)
    return rows, failed


def plain(rows: Sequence[Row]) -> str:
    """For a terminal: a line or two for each row."""
    lines = []
    for row in rows:
        name, measured, baseline, ratio, goal, _, note = cells(row)
        against = "" if row.baseline is None else f" against {baseline}"
        times = "" if row.ratio is None else f", {ratio}"
        judged = "" if row.met is None else f" (goal {goal}: {'met' if row.met else 'MISSED'})"
        lines.append(f"{name}: {measured}{against}{times}{judged}" + (f"\n    {note}" if note else ""))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run, print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks and print a table.")
    parser.add_argument(
        "--quick", action="store_true", help="smaller inputs and fewer rounds: a smoke test, not a result"
    )
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=names(), help="run this one; may be repeated"
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument(
        "--digits", metavar="FOLDER", help=f"a full MNIST in IDX files (or set {DIGITS}); else the project's own digits"
    )
    options = parser.parse_args(arguments)
    if options.digits is not None:
        os.environ[DIGITS] = options.digits
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as trainers have it; read when torch is first imported

    rows, failed = run_all(options.only or names(), quick=options.quick)
    print(describe_machine() + (", --quick" if options.quick else ""))
    print()
    print(markdown(rows) if options.markdown else plain(rows))
    print()
    print(verdict(rows))
    for name in failed:
        print(f"{name}: did not run, see the traceback above")
    return 1 if failed or any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
