"""Numbers, sizes and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from api.web import formats

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (38.2, "38 s"), (245, "4 min 05 s"), (7800, "2 h 10 min"), (180_000, "2 d 2 h")],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (3, "just now"),
        (-3, "in a moment"),
        (42, "42 s ago"),
        (300, "5 min ago"),
        (-7200, "in 2 h"),
        (200_000, "2 d ago"),
    ],
)
def test_a_time_is_told_from_now(before: float, text: str) -> None:
    assert formats.ago(NOW - timedelta(seconds=before), NOW) == text


def test_the_exact_time_is_on_hover_and_for_machines() -> None:
    tag = formats.time_tag(NOW)
    assert 'datetime="2026-01-31T12:00:00+00:00"' in tag
    assert 'title="2026-01-31 12:00:00 UTC"' in tag
    assert formats.time_tag(None) == "–"


def test_points_have_a_real_sign() -> None:
    assert [formats.points(value) for value in (0.562, -0.004, 0.0001, None)] == ["+56.2", "−0.4", "±0.0", "–"]


def test_sizes_and_counts() -> None:
    assert [formats.size(value) for value in (0, 1023, 2**20, 3 * 2**40, None)] == [
        "0 B",
        "1023 B",
        "1.0 MiB",
        "3.0 TiB",
        "–",
    ]
    assert [formats.count(value) for value in (12345, None)] == ["12,345", "–"]
    assert [formats.plural(number, "finding") for number in (1, 2)] == ["1 finding", "2 findings"]
    assert [formats.bound(value) for value in (2147483647, 0.5)] == ["2,147,483,647", "0.5"]


def test_a_sentence_begins_large_and_ends_with_a_stop() -> None:
    assert [formats.sentence(text) for text in ("no such file", "Is it?", "")] == ["No such file.", "Is it?", ""]
