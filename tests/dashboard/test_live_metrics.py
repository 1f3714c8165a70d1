"""Rates and quantiles out of counts that only grow."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard.live_metrics import Readings, latency_rows, latency_sentence, window_sentence
from dermserve_client.traffic import window_between
from tests.dashboard.answers import metrics


def test_nothing_happened() -> None:
    window = window_between(metrics(0, 1, 1, 1), metrics(1, 1, 1, 1))
    assert (window.rate, window.quantile(0.5)) == (0, None)
    assert window_sentence(window) == "No request was answered in the last 1\u00a0s."


def test_readings_are_kept_in_order() -> None:
    readings = Readings()
    assert (readings.latest(), readings.window(60)) == (None, None)
    for seconds, count in ((0, 0), (2, 10), (1, 5), (2, 10), (100, 50)):
        readings.add(metrics(seconds, count, count, count))
    window = readings.window(60)
    assert window is not None
    # The others are too old, so that the last two have to do.
    assert (window.seconds, window.requests) == (98, 40)
    assert readings.window(1000) == window_between(metrics(0, 0, 0, 0), metrics(100, 50, 50, 50))
    assert [rate for _, rate in readings.rates(1000)] == [5.0, pytest.approx(40 / 98)]
    assert len(readings.rates(1)) == 1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_counts_that_fell_begin_anew(place: int) -> None:
    """A replica ended, as they do under autoscaling; its window would be empty for minutes."""
    readings = Readings()
    for seconds, count in enumerate((1000, 1010, 300, 400)):
        counts = [count if number >= place else 0 for number in range(3)]
        readings.add(metrics(seconds, *counts))
    window = readings.window(300)
    assert window is not None
    assert (window.seconds, window.requests) == (1, 100)
    assert window.quantile(1.0) is not None
    assert [rate for _, rate in readings.rates(300)] == [100.0]


def test_one_of_all_who_look_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of its own: the server's may stand anywhere."""
    now = 50.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    readings = Readings()
    assert [readings.due(1.5) for _ in range(3)] == [True, False, False]
    readings.add(metrics(1e6, 0, 0, 0))
    now += 1.4
    assert not readings.due(1.5)
    now += 0.1
    assert [readings.due(1.5) for _ in range(3)] == [True, False, False]
    readings.missed()
    assert [readings.due(1.5) for _ in range(2)] == [True, False]


def test_threads_that_look_at_once_read_once() -> None:
    readings = Readings()
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: readings.due(60), range(200))) == 1


def test_sentences() -> None:
    assert window_sentence(None).startswith("Counting has begun")
    window = window_between(metrics(0, 0, 0, 0), metrics(60, 90, 100, 100))
    said = window_sentence(window)
    assert said.startswith("100 requests answered in the last 60\u00a0s")
    assert "99 of 100 within" in said
    assert latency_sentence([]) == "No request has been answered since the server started."
    assert "Of 100 requests" in latency_sentence(metrics(0, 90, 100, 100).latency)


def test_rows_of_the_histogram() -> None:
    assert latency_rows(metrics(0, 0, 0, 0).latency) == []
    rows = latency_rows(metrics(0, 3, 5, 6).latency)
    assert [(row["seconds"], row["requests"]) for row in rows] == [
        ("up to 100\u00a0ms", 3),
        ("100\u00a0ms to 1\u00a0s", 2),
        ("over 1\u00a0s", 1),
    ]
    assert len(latency_rows(metrics(0, 0, 5, 5).latency)) == 1
    assert set(rows[0]) == {"seconds", "requests"}
