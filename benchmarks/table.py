"""The row that every benchmark returns, the table of them, and fair timing of two callables."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity against its baseline.

    `measured` and `baseline` are in `unit`. `ratio` says how many times better than the baseline we are, larger is
    better whatever the unit: for throughputs measured / baseline, for durations baseline / measured. `at_least` is the
    smallest ratio that meets the goal. `at_most` is the largest `measured` that meets it, for limits that have no
    baseline (seconds of overhead, MiB of memory). A row with neither goal is for the record.
    """

    name: str
    measured: float
    baseline: float | None = None
    ratio: float | None = None
    unit: str = ""
    at_least: float | None = None
    note: str = ""
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.at_least is not None and self.ratio is None:
            raise ValueError(f"{self.name}: at_least is a goal for the ratio, and there is no ratio")

    @property
    def met(self) -> bool | None:
        """Whether every goal is met; None when the row has no goal. NaN meets nothing."""
        verdicts = []
        if self.at_least is not None and self.ratio is not None:
            verdicts.append(self.ratio >= self.at_least)
        if self.at_most is not None:
            verdicts.append(self.measured <= self.at_most)
        return all(verdicts) if verdicts else None

    @property
    def goal(self) -> str:
        """The goal in words, empty when there is none."""
        parts = []
        if self.at_least is not None:
            parts.append(f"≥ {_number(self.at_least)}×")
        if self.at_most is not None:
            parts.append(f"≤ {_number(self.at_most)} {self.unit}".rstrip())
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two callables timed in turn. Seconds are medians; `speedup` is the median over rounds of baseline / measured."""

    measured_seconds: float
    baseline_seconds: float
    speedup: float
    rounds: int


def compare(
    measured: Callable[[], object],
    baseline: Callable[[], object],
    *,
    rounds: int = 5,
    warmup: int = 1,
    in_a_row: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Time both in turn, A B A B …, so that a slow phase of the machine hits both alike.

    With `in_a_row` above 1 each runs so many times at its turn, and the last is timed: what the other side left behind
    (caches, threads that spin, pages shared with the processes that it forked) is then not on its account. `warmup`
    rounds run first and are not counted. Raises `ValueError` if `rounds` or `in_a_row` is not positive.
    """
    if rounds < 1 or in_a_row < 1:
        raise ValueError(f"rounds and in_a_row must be at least 1, got {rounds} and {in_a_row}")
    for _ in range(warmup):
        measured()
        baseline()
    pairs = []
    for _ in range(rounds):
        seconds = []
        for side in (measured, baseline):
            for _ in range(in_a_row - 1):
                side()
            start = clock()
            side()
            seconds.append(clock() - start)
        pairs.append(seconds)
    return Comparison(
        measured_seconds=statistics.median(ours for ours, _ in pairs),
        baseline_seconds=statistics.median(theirs for _, theirs in pairs),
        speedup=statistics.median(theirs / ours for ours, theirs in pairs),
        rounds=rounds,
    )


HEADINGS = ("Benchmark", "Measured", "Baseline", "Ratio", "Goal", "Met", "Note")


def cells(row: Row) -> tuple[str, ...]:
    """The row's text, in the order of `HEADINGS`."""
    return (
        row.name,
        f"{_number(row.measured)} {row.unit}".rstrip(),
        "–" if row.baseline is None else f"{_number(row.baseline)} {row.unit}".rstrip(),
        "–" if row.ratio is None else f"{_number(row.ratio)}×",
        row.goal or "–",
        {True: "yes", False: "**no**", None: "–"}[row.met],
        row.note,
    )


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table with its columns aligned, so that it also reads well as plain text."""
    lines = [HEADINGS, *(tuple(cell.replace("|", "\\|") for cell in cells(row)) for row in rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(HEADINGS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def verdict(rows: Sequence[Row]) -> str:
    """One line: how many goals are met, and which are missed."""
    judged = [row for row in rows if row.met is not None]
    missed = [row.name for row in judged if not row.met]
    summary = f"{len(judged) - len(missed)} of {len(judged)} goals met"
    return f"{summary}; missed: {', '.join(missed)}" if missed else summary


def _number(value: float) -> str:
    """Three significant digits, with whole numbers above a thousand kept whole."""
    if value != value or abs(value) == float("inf"):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
