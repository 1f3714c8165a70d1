"""The live window: its bound, its pace, and that it is fair to all replicas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.drift.samples import sample_of
from training.drift.window import LiveWindow

DAY_S = 86_400.0


def _marks(window: LiveWindow) -> list[float]:
    return [float(row[0]) for row in window.rows().statistics]


def test_it_begins_empty() -> None:
    window = LiveWindow(10, 60, DAY_S, now=0)
    window.settle(1)
    assert (len(window), window.since, window.taken) == (0, None, 0)
    rows = window.rows()
    assert (rows.statistics.shape, rows.logits.shape) == ((0, 192), (0, 7))


def test_little_traffic_is_taken_whole() -> None:
    window = LiveWindow(10, 60, DAY_S, now=0)
    for moment in range(6):
        window.offer(sample_of(1, mark=moment), now=60 * moment)
        window.settle(60 * moment)
    assert _marks(window) == [0, 1, 2, 3, 4, 5]
    assert window.since == 0


def test_the_oldest_make_room() -> None:
    window = LiveWindow(4, 4, DAY_S, now=0)
    for moment in range(9):
        window.offer(sample_of(1, mark=moment), now=moment)
        window.settle(moment)
    assert _marks(window) == [5, 6, 7, 8]


def test_a_full_window_covers_its_span_under_load() -> None:
    window = LiveWindow(100, 600, DAY_S, now=0)
    for moment in range(0, 3000, 2):
        window.offer(sample_of(64, seed=moment), now=moment)
        window.settle(moment)
    assert len(window) == 100
    assert window.since is not None
    assert 590 <= 2998 - window.since <= 610


def test_the_old_are_dropped() -> None:
    window = LiveWindow(10, 60, 100, now=0)
    window.offer(sample_of(3), now=0)
    window.settle(0)
    window.offer(sample_of(2), now=90)
    window.settle(90)
    assert len(window) == 5
    window.settle(101)
    assert len(window) == 2
    window.settle(191)
    assert (len(window), window.since) == (0, None)


def test_what_is_no_number_is_passed_over() -> None:
    sample = sample_of(5)
    statistics, logits = sample.statistics.copy(), sample.logits.copy()
    statistics[1, 3], statistics[2, 0], logits[4, 6] = math.nan, math.inf, math.nan
    window = LiveWindow(10, 60, DAY_S, now=0)
    window.offer(replace(sample, statistics=statistics, logits=logits), now=0)
    window.settle(0)
    assert (len(window), window.discarded) == (2, 3)
    assert np.isfinite(window.rows().statistics).all()


def test_a_busy_replica_counts_for_more() -> None:
    """Two replicas send as many rows, of 1,000 images and of 100: both had 64 places."""
    window, random = LiveWindow(300, 300, DAY_S, now=0), np.random.default_rng(0)
    for moment in range(0, 2000, 10):
        for images, mark in ((1000, 1.0), (100, 0.0)):
            lowest = np.sort(random.random(images))[:64]
            sample = replace(sample_of(64, mark=mark), images=images, priorities=lowest)
            window.offer(sample, now=moment)
        window.settle(moment)
    assert len(window) == 300
    assert np.mean(_marks(window)) == pytest.approx(1000 / 1100, abs=0.06)


@given(
    capacity=st.integers(2, 40),
    span_s=st.floats(0.1, 1000),
    max_age_s=st.floats(1, 1e6),
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.lists(st.integers(0, 30), max_size=3)), max_size=25
    ),
)
def test_whatever_comes_it_keeps_its_promises(
    capacity: int, span_s: float, max_age_s: float, steps: list[tuple[float, list[int]]]
) -> None:
    window, now, number = LiveWindow(capacity, span_s, max_age_s, now=0), 0.0, 0
    offered = 0
    moments: dict[int, float] = {}
    for wait_s, sizes in steps:
        now += wait_s
        for size in sizes:
            offered += size
            number += 1
            moments[number] = now
            window.offer(sample_of(size, seed=number, mark=number), now)
        window.settle(now)
        assert len(window) <= capacity
        # The first fill is free; after that, as much as the span allows.
        assert window.taken <= min(offered, capacity + now * capacity / span_s + 1e-6)
        came = [moments[int(mark)] for mark in _marks(window)]
        assert came == sorted(came)
        assert all(now - moment <= max_age_s for moment in came)
        assert window.since == (came[0] if came else None)
