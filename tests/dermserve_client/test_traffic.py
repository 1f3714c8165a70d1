"""Rates and quantiles out of counts that only grow."""

from __future__ import annotations

import pytest

from dermserve_client.traffic import Window, whole_window, window_between
from tests.dashboard.answers import metrics


def test_what_happened_between_two_readings() -> None:
    window = window_between(metrics(0, 10, 20, 20), metrics(10, 60, 120, 120))
    assert (window.seconds, window.requests, window.rate) == (10, 100, 10)
    # 50 of 100 within 0.1 s, the other 50 between there and 1 s.
    assert window.quantile(0.5) == pytest.approx(0.1)
    assert window.quantile(0.75) == pytest.approx(0.55)
    assert window.quantile(1.0) == pytest.approx(1.0)


def test_what_is_slower_than_the_last_bound_counts_as_that() -> None:
    window = window_between(metrics(0, 0, 0, 0), metrics(1, 0, 0, 5))
    assert window.quantile(0.5) == 1.0


def test_a_replica_that_ended_takes_its_counts_along() -> None:
    window = window_between(metrics(0, 10, 20, 20), metrics(1, 5, 5, 5))
    assert (window.requests, window.buckets) == (0, ())


def test_a_window_without_buckets() -> None:
    assert Window(0.0, 0, ()).quantile(0.5) is None
    assert Window(0.0, 0, ()).rate == 0


def test_all_since_the_start() -> None:
    whole = whole_window(metrics(0, 50, 100, 100))
    assert (whole.requests, whole.quantile(0.5)) == (100, pytest.approx(0.1))
    assert (whole.rate, whole_window(metrics(0, 0, 0, 0)).quantile(0.5)) == (0, None)
