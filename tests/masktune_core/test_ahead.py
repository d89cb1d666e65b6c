"""One item ahead of the caller, and nothing else changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from masktune_core.ahead import one_ahead


def test_it_is_map() -> None:
    assert list(one_ahead(iter(range(5)), str)) == list("01234")
    assert list(one_ahead(iter(()), str)) == []


def test_the_next_item_is_worked_on_while_the_caller_has_the_one_before() -> None:
    second = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            second.set()
        return item

    results = one_ahead(iter(range(3)), work)
    assert next(results) == 0
    assert second.wait(10.0), "nobody asked for it yet"
    assert list(results) == [1, 2]


def test_it_is_never_more_than_one_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    for number in one_ahead(items(), int):
        assert len(taken) <= number + 2


def test_an_error_comes_where_its_result_would() -> None:
    results = one_ahead(iter([2, 1, 0, 3]), lambda number: 2 // number)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_waits_for_the_work_under_way() -> None:
    done: list[int] = []
    results = one_ahead(iter(range(5)), done.append)
    next(results)
    results.close()  # type: ignore[attr-defined]  # a generator
    assert done in ([0], [0, 1])
    assert not any(thread.name.startswith("masktune-ahead") for thread in threading.enumerate())
