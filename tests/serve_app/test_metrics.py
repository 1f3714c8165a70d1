"""What Prometheus is told: exact counts, carried over without being counted twice."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest
import ray
from ray.serve.metrics import Counter, Gauge

from cluster.server import LocalServer
from serve_app.batching import QueueCounts
from serve_app.metrics import Reading, StageMetrics


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str] | None]]:
    """What counters and gauges were told, by name."""
    calls: list[tuple[str, float, dict[str, str] | None]] = []

    def record(self: Any, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        calls.append((self.info["name"], value, tags))

    monkeypatch.setattr(Counter, "inc", record)
    monkeypatch.setattr(Gauge, "set", record)
    return calls


def test_counts_are_carried_over_once(
    told: list[tuple[str, float, dict[str, str] | None]],
) -> None:
    counts = QueueCounts()
    metrics = StageMetrics("stage", lambda: Reading(counts.copy(), 2, rejected=counts.cancelled))
    counts.taken, counts.expired, counts.batches, counts.waited_s = 5, 1, 2, 0.5
    metrics.flush()
    assert told == [
        ("dermserve_images", 5, {"outcome": "taken"}),
        ("dermserve_images", 1, {"outcome": "expired"}),
        ("dermserve_queue_wait_seconds", 0.5, None),
        ("dermserve_batches", 2, None),
        ("dermserve_waiting_images", 2, None),
    ]
    told.clear()
    metrics.flush()
    assert told == [("dermserve_waiting_images", 2, None)]
    told.clear()
    counts.taken, counts.cancelled = 7, 3
    metrics.flush()
    assert told == [
        ("dermserve_images", 2, {"outcome": "taken"}),
        ("dermserve_images", 3, {"outcome": "cancelled"}),
        ("dermserve_images", 3, {"outcome": "rejected"}),
        ("dermserve_waiting_images", 2, None),
    ]


async def test_the_seconds_of_a_phase_are_summed_exactly(
    told: list[tuple[str, float, dict[str, str] | None]],
) -> None:
    metrics = StageMetrics("stage", lambda: Reading(QueueCounts(), 0))
    metrics.observe_batch(4, "decode", 0.25)
    metrics.observe_batch(1, "decode", 0.5)
    metrics.observe("total", 1.0)
    metrics.flush()
    metrics.flush()
    assert [call for call in told if call[0] == "dermserve_busy_seconds"] == [
        ("dermserve_busy_seconds", 0.75, {"phase": "decode"}),
        ("dermserve_busy_seconds", 1.0, {"phase": "total"}),
    ]


def test_a_server_exports_them(server: LocalServer, jpeg: bytes) -> None:
    assert httpx.post(f"{server.url}/predict", content=jpeg).status_code == 200
    (node,) = (node for node in ray.nodes() if node["Alive"])
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    end = time.monotonic() + 60
    stages: set[str] = set()
    while time.monotonic() < end and len(stages) < 4:
        text = httpx.get(url).text
        stages = set(
            re.findall(r'ray_dermserve_images_total\{[^}]*stage="(\w+)"[^}]*\} [1-9]', text)
        )
        time.sleep(1)
    assert stages >= {"ingress", "preprocessor", "classifier_hop", "classifier"}
