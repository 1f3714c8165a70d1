"""Live metrics: what the last minutes were like, out of counts that only ever grow."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from dashboard.wording import count, duration
from dermserve_client.statistics import Bucket, Metrics
from dermserve_client.traffic import Window, bound_of, window_between

KEPT = 450
"""Readings; at one every two seconds that is a quarter of an hour."""


def _fell(before: Metrics, after: Metrics) -> bool:
    earlier = {bucket.le: bucket.count for bucket in before.latency}
    return after.requests < before.requests or any(
        bucket.count < earlier.get(bucket.le, 0) for bucket in after.latency
    )


class Readings:
    """The newest readings, shared by all who look at one server; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Metrics] = deque(maxlen=KEPT)
        self._asked: float | None = None

    def due(self, every_s: float) -> bool:
        """Whether the caller is to read now: true for one of all who ask within so long."""
        with self._lock:
            now = time.monotonic()
            if self._asked is not None and now - self._asked < every_s:
                return False
            self._asked = now
            return True

    def missed(self) -> None:
        """The reading failed: whoever asks next is to try as well, and shall see why."""
        with self._lock:
            self._asked = None

    def add(self, reading: Metrics) -> None:
        """Take a reading in, unless it is one that is here already or older.

        If counts fell, a replica took its own along, and nothing before can be compared.
        """
        with self._lock:
            if self._kept:
                if reading.time <= self._kept[-1].time:
                    return
                if _fell(self._kept[-1], reading):
                    self._kept.clear()
            self._kept.append(reading)

    def latest(self) -> Metrics | None:
        """The newest reading."""
        with self._lock:
            return self._kept[-1] if self._kept else None

    def window(self, seconds: float) -> Window | None:
        """From about so long ago until now; shorter if readings are; None with fewer than two."""
        with self._lock:
            kept = list(self._kept)
        if len(kept) < 2:
            return None
        last = kept[-1]
        first = next(each for each in kept if (last.time - each.time).total_seconds() <= seconds)
        return window_between(kept[-2] if first is last else first, last)

    def rates(self, seconds: float) -> list[tuple[datetime, float]]:
        """Requests per second between one reading and the next, over so long."""
        with self._lock:
            kept = list(self._kept)
        return [
            (after.time, window_between(before, after).rate)
            for before, after in itertools.pairwise(kept)
            if (kept[-1].time - after.time).total_seconds() <= seconds
        ]


def window_sentence(window: Window | None) -> str:
    """What the last minutes were like."""
    if window is None:
        return "Counting has begun; rates show with the next reading, in a few seconds."
    if not window.requests:
        return f"No request was answered in the last {duration(window.seconds)}."
    median, slow = window.quantile(0.5), window.quantile(0.99)
    said = f"{count(window.requests, 'request')} answered in the last {duration(window.seconds)}"
    if median is None or slow is None:
        return f"{said}."
    return (
        f"{said}: half of them within {duration(median)}, 99 of 100 within {duration(slow)} "
        "(to the nearest bucket of the histogram)."
    )


def latency_rows(buckets: Sequence[Bucket]) -> list[dict[str, object]]:
    """How many requests took from how long to how long; empty ends are left out."""
    ordered = sorted(buckets, key=bound_of)
    rows: list[dict[str, object]] = []
    low, below = 0.0, 0
    for bucket in ordered:
        text = (
            f"over {duration(low)}"
            if bucket.le is None
            else f"{duration(low)} to {duration(bucket.le)}"
        )
        if low == 0 and bucket.le is not None:
            text = f"up to {duration(bucket.le)}"
        rows.append({"seconds": text, "requests": max(0, bucket.count - below)})
        low, below = low if bucket.le is None else bucket.le, max(below, bucket.count)
    filled = [place for place, row in enumerate(rows) if row["requests"]]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def latency_sentence(buckets: Sequence[Bucket]) -> str:
    """How fast all requests were since the replicas started."""
    ordered = tuple((bucket.le, bucket.count) for bucket in sorted(buckets, key=bound_of))
    whole = Window(0.0, ordered[-1][1] if ordered else 0, ordered)
    median, slow = whole.quantile(0.5), whole.quantile(0.95)
    if median is None or slow is None:
        return "No request has been answered since the server started."
    return (
        f"Of {count(whole.requests, 'request')} since the replicas started, half were answered "
        f"within about {duration(median)} and 95 of 100 within about {duration(slow)}."
    )
