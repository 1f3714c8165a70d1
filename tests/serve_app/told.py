"""What Prometheus was told: calls of counters and gauges, recorded instead of sent."""

from __future__ import annotations

from typing import Any

import pytest
from ray.util import metrics

Told = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""The last value of a gauge, and the sum of a counter, by name and tags."""


def record_told(monkeypatch: pytest.MonkeyPatch, *names: str) -> Told:
    """Have what is told from now on written into the returned dict.

    Args:
        names: of the metrics, where work that other tests left behind may tell of others; all
            without.
    """
    told: Told = {}

    def record(self: Any, value: float, tags: dict[str, str] | None = None) -> None:
        if names and self._name not in names:
            return
        self._validate_tags(self._get_final_tags(tags))
        key = self._name, frozenset((tags or {}).items())
        told[key] = value + (told.get(key, 0) if isinstance(self, metrics.Counter) else 0)

    monkeypatch.setattr(metrics.Metric, "_record", record)
    return told


def value_of(told: Told, name: str, **tags: str) -> float | None:
    """Of one series; None if it was never told."""
    return told.get((name, frozenset(tags.items())))
