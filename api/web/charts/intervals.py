"""Two accuracies with their intervals on one line from 0 to 100 %."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 240, 26
_EDGE = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """A fraction and its 95 % Wilson interval."""

    value: float
    low: float
    high: float


def interval_chart(before: Interval | None, after: Interval | None) -> Markup:
    """Before above, after below, each a dot on its interval. Told in words elsewhere, so hidden from readers."""
    parts = [
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="1" y2="{1}"></line>').format(_across(tick), HEIGHT - 1)
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    for interval, kind, y in ((before, "before", 8), (after, "after", 18)):
        if interval is None:
            continue
        parts.append(
            Markup(
                '<line class="whisker {0}" x1="{1}" x2="{2}" y1="{3}" y2="{3}"></line>'
                '<circle class="dot {0}" cx="{4}" cy="{3}" r="4"></circle>'
            ).format(kind, _across(interval.low), _across(interval.high), y, _across(interval.value))
        )
    return Markup('<svg class="intervals" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        WIDTH, HEIGHT, Markup("").join(parts)
    )


def interval_axis() -> Markup:
    """The head of a column of such charts."""
    ticks = Markup("").join(
        Markup('<text class="tick" x="{}" y="11" text-anchor="{}">{}</text>').format(
            _across(tick), anchor, f"{tick:.0%}"
        )
        for tick, anchor in ((0.0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1.0, "end"))
    )
    return Markup('<svg class="intervals" viewBox="0 0 {} 14" aria-hidden="true">{}</svg>').format(WIDTH, ticks)


def _across(value: float) -> str:
    return f"{_EDGE + value * (WIDTH - 2 * _EDGE):.1f}"
