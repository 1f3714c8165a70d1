"""PromQL that several panels share."""

from __future__ import annotations


def quantile(share: float, buckets: str, by: str = "le") -> str:
    """A quantile of a histogram over the last moments.

    Args:
        share: 0 to 1.
        buckets: of the histogram, with what selects them.
        by: labels that keep series apart; `le` among them.
    """
    return f"histogram_quantile({share}, sum by ({by}) (rate({buckets}[$__rate_interval])))"


def per_second(counter: str, by: str) -> str:
    """How fast a counter grows, in all replicas together, for each value of some labels."""
    return f"sum by ({by}) (rate({counter}[$__rate_interval]))"
