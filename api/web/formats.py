"""Numbers, sizes and times as people read them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

MISSING: Final = "–"
_STEPS: Final = ((60.0, "s"), (60.0, "min"), (24.0, "h"), (math.inf, "d"))


def percent(value: float | None, digits: int = 1) -> str:
    """0.9713 → "97.1 %"; a dash where there is no value."""
    return MISSING if value is None else f"{100 * value:.{digits}f} %"


def points(value: float | None) -> str:
    """A difference of two fractions in percentage points: 0.562 → "+56.2", with a real minus sign."""
    if value is None:
        return MISSING
    rounded = round(100 * value, 1)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else '±'}{abs(rounded):.1f}"


def decimals(value: float | None, digits: int = 4, *, signed: bool = False) -> str:
    """0.0213 → "0.0213", as a difference "+0.0213", with a real minus sign."""
    if value is None:
        return MISSING
    text = f"{abs(value):.{digits}f}"
    sign = "±" if signed and float(text) == 0 else "−" if value < 0 else "+" if signed else ""
    return sign + text


def count(value: int | float | None) -> str:
    """12345 → "12,345"."""
    return MISSING if value is None else f"{value:,.0f}"


def size(value: int | None) -> str:
    """Bytes as "1.2 MiB"."""
    if value is None:
        return MISSING
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration(seconds: float | None) -> str:
    """Seconds as "0.4 s", "38 s", "4 min 05 s", "2 h 10 min"."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """ "just now", "5 min ago", "in 3 h"; coarse on purpose, the exact time stands in the title."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if -10 < seconds < 10:
        return "just now" if seconds >= 0 else "in a moment"
    amount = abs(seconds)
    for factor, unit in _STEPS:
        if amount < factor:
            text = f"{int(amount)} {unit}"
            break
        amount /= factor
    return f"{text} ago" if seconds > 0 else f"in {text}"


def time_tag(moment: datetime | None) -> Markup | str:
    """`<time>`: relative, with the exact moment on hover; the page's script keeps it fresh."""
    if moment is None:
        return MISSING
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.astimezone(UTC).isoformat(timespec="seconds"), exact(moment), ago(moment)
    )


def exact(moment: datetime) -> str:
    """ "2026-01-31 12:00:00 UTC", whatever zone the moment came in."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def short(text: object, length: int = 8) -> str:
    """The start of a hash."""
    return MISSING if text is None else str(text)[:length]


def plural(number: int, noun: str, many: str | None = None) -> str:
    """ "1 image", "12,345 images"."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def words(name: str) -> str:
    """A code as words: "training_erm" → "training ERM"."""
    return name.replace("_", " ").replace("erm", "ERM")


def coded(text: str) -> Markup:
    """Text of our own with what stands between backticks as code."""
    parts = re.split("`([^`]+)`", text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


def bound(value: float) -> str:
    """A bound of a field: 2147483647 → "2,147,483,647", 0.5 → "0.5"."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def is_under(place: str, section: str) -> bool:
    """Whether a dotted place is a section or lies in it."""
    return place == section or place.startswith(f"{section}.")


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    whole = text[:1].upper() + text[1:]
    return whole if not whole or whole.endswith((".", "!", "?")) else whole + "."
