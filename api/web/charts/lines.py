"""Line charts: training curves, risk over coverage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from api.web.charts.axes import Axis, axis, label

WIDTH, HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 40
_GAP, _LETTER = 1.5, 6.5
"""Between two bands, and the width of a letter of their names."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line: `points` are (x, y) in order of x; `kind` is its class in the style sheet, which gives it its colour."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of the x axis that is shaded and named, by `short` where the name has no room."""

    start: float
    stop: float
    name: str
    short: str = ""


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    x: Axis | None = None,
    y: Axis | None = None,
    bands: Sequence[Band] = (),
    x_text: Callable[[float], str] = label,
    y_text: Callable[[float], str] = label,
    dots: bool = False,
) -> Markup:
    """The chart as one `<svg>`. Without any point it says so in words.

    Axes fit the points unless they are given. `dots` marks every point, with its numbers on hover.
    """
    drawn = [line for line in series if line.points]
    if not drawn:
        return Markup('<p class="muted chart-empty">{}</p>').format(f"{title}: nothing to draw yet.")
    xs = [point[0] for line in drawn for point in line.points]
    ys = [point[1] for line in drawn for point in line.points]
    x = x or axis(min(xs), max(xs), most=8, whole=True)
    y = y or axis(min(0.0, *ys), max(ys))
    frame = _Frame(x, y)
    parts = [Markup("<title>{}</title>").format(title)]
    parts += [_band(frame, band) for band in bands]
    parts += [_grid_y(frame, tick, y_text(tick)) for tick in y.ticks]
    parts += [_tick_x(frame, tick, x_text(tick)) for tick in x.ticks]
    parts.append(
        Markup('<text class="axis-name" x="{}" y="{}" dy="2.8em" text-anchor="middle">{}</text>').format(
            f"{_LEFT + frame.width / 2:.0f}", HEIGHT - _BOTTOM, x_label
        )
    )
    for line in drawn:
        parts.append(_line(frame, line))
        if dots or len(line.points) == 1:
            parts += [_dot(frame, line, point, x_text, y_text) for point in line.points]
    parts.append(Markup('<g class="marks"></g>'))
    described = "; ".join(f"{line.name} ends at {y_text(line.points[-1][1])}" for line in drawn)
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}" data-x="{} {}" data-y="{} {}">{}</svg>'
    ).format(WIDTH, HEIGHT, f"{title}: {described}", x.low, x.high, y.low, y.high, Markup("").join(parts))


def legend(series: Sequence[Series]) -> Markup:
    """Names with the colour of their line."""
    items = Markup("").join(
        Markup('<li class="{}">{}</li>').format(line.kind, line.name) for line in series if line.points
    )
    return Markup('<ul class="legend">{}</ul>').format(items)


@dataclass(frozen=True, slots=True)
class _Frame:
    x: Axis
    y: Axis

    @property
    def width(self) -> int:
        return WIDTH - _LEFT - _RIGHT

    @property
    def height(self) -> int:
        return HEIGHT - _TOP - _BOTTOM

    def across(self, value: float) -> str:
        return f"{_LEFT + self.x.place(value) * self.width:.1f}"

    def down(self, value: float) -> str:
        return f"{_TOP + (1 - self.y.place(value)) * self.height:.1f}"


def _grid_y(frame: _Frame, tick: float, text: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"></line>'
        '<text class="tick" x="{3}" y="{2}" dy="0.32em" text-anchor="end">{4}</text>'
    ).format(_LEFT, WIDTH - _RIGHT, frame.down(tick), _LEFT - 8, text)


def _tick_x(frame: _Frame, tick: float, text: str) -> Markup:
    return Markup('<text class="tick" x="{}" y="{}" dy="1.35em" text-anchor="middle">{}</text>').format(
        frame.across(tick), HEIGHT - _BOTTOM, text
    )


def _band(frame: _Frame, band: Band) -> Markup:
    left, right = float(frame.across(band.start)), float(frame.across(band.stop))
    wide = max(right - left - _GAP, 1)
    has_room = not band.short or len(band.name) * _LETTER < wide
    return Markup(
        '<rect class="band" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}</title></rect>'
        '<text class="band-name" x="{:.1f}" y="{}" text-anchor="end">{}</text>'
    ).format(
        left, _TOP, wide, frame.height, band.name, right - _GAP - 2, _TOP + 11, band.name if has_room else band.short
    )


def _line(frame: _Frame, line: Series) -> Markup:
    path = " ".join(
        f"{'M' if number == 0 else 'L'}{frame.across(x)} {frame.down(y)}" for number, (x, y) in enumerate(line.points)
    )
    return Markup('<path class="line {}" d="{}"></path>').format(line.kind, path)


def _dot(
    frame: _Frame,
    line: Series,
    point: tuple[float, float],
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
) -> Markup:
    told = escape(f"{line.name}, {x_text(point[0])}: {y_text(point[1])}")
    return Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
        line.kind, frame.across(point[0]), frame.down(point[1]), told
    )
