"""In order: results come in turn, work is bounded, and an error stops it."""

from __future__ import annotations

import itertools
import threading

import pytest

from cluster.in_order import in_order


def test_the_first_is_first_though_it_takes_longest() -> None:
    last = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert last.wait(30)
        if number == 3:
            last.set()
        return number

    assert list(in_order(work, range(10), 4)) == list(range(10))


def test_it_takes_no_more_than_it_needs() -> None:
    taken = itertools.count()
    results = in_order(lambda item: item, (next(taken) for _ in itertools.count()), 3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert next(taken) <= 5 + 2 * 3
    results.close()  # type: ignore[attr-defined]


def test_an_error_comes_in_its_turn_and_ends_it() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    results = in_order(work, range(100), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert list(results) == []


def test_nothing_to_do() -> None:
    assert list(in_order(str, [], 2)) == []
