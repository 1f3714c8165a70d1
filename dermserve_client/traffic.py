"""Traffic: what happened between two readings of the metrics, whose counts only ever grow."""

from __future__ import annotations

from dataclasses import dataclass

from dermserve_client.statistics import Bucket, Metrics


@dataclass(frozen=True)
class Window:
    """What happened between two readings."""

    seconds: float
    requests: int
    buckets: tuple[tuple[float | None, int], ...]
    """Requests of at most so many seconds, those of smaller bounds included."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    def quantile(self, share: float) -> float | None:
        """Seconds within which a share of the requests were answered; None without requests.

        Linear within a bucket, as Prometheus' `histogram_quantile` does it, so that it is as
        exact as the bucket is narrow.
        """
        total = self.buckets[-1][1] if self.buckets else 0
        if total <= 0:
            return None
        wanted, low, below = share * total, 0.0, 0
        for bound, number in self.buckets:
            if number >= wanted and number > below:
                if bound is None:
                    return low
                return low + (bound - low) * (wanted - below) / (number - below)
            low, below = low if bound is None else bound, max(below, number)
        return low


def window_between(before: Metrics, after: Metrics) -> Window:
    """The difference of two readings; what a replica counted that ended between them is lost."""
    earlier = {bucket.le: bucket.count for bucket in before.latency}
    grown = [
        (bucket.le, bucket.count - earlier.get(bucket.le, 0))
        for bucket in sorted(after.latency, key=bound_of)
    ]
    if any(number < 0 for _, number in grown):
        grown = []
    return Window(
        seconds=(after.time - before.time).total_seconds(),
        requests=max(0, after.requests - before.requests) if grown else 0,
        buckets=tuple(grown),
    )


def whole_window(metrics: Metrics) -> Window:
    """All requests since the replicas started; over how long, a reading does not say."""
    ordered = tuple((each.le, each.count) for each in sorted(metrics.latency, key=bound_of))
    return Window(0.0, ordered[-1][1] if ordered else 0, ordered)


def bound_of(bucket: Bucket) -> float:
    """Its upper bound in seconds, infinite for the last one; what buckets are ordered by."""
    return float("inf") if bucket.le is None else bucket.le
