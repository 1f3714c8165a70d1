"""Reports of the classifier's replicas: the latest of each, and what they come to together.

They are kept in memory only, because every replica sends its report again and again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection

from models.replica_report import ReplicaReport
from training.promotion.live import ShadowStats

FORGOTTEN_AFTER_S = 30.0
"""Silence after which a replica is taken to be gone; it reports every few seconds."""


class ReplicaReports:
    """The latest report of each replica. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[str, tuple[float, ReplicaReport]] = {}

    def put(self, report: ReplicaReport) -> None:
        """Take a report in."""
        with self._lock:
            self._reports[report.replica_id] = time.monotonic(), report

    def latest(self) -> dict[str, ReplicaReport]:
        """By the replica's id, without those that have fallen silent."""
        now = time.monotonic()
        with self._lock:
            self._reports = {
                name: (seen, report)
                for name, (seen, report) in self._reports.items()
                if now - seen < FORGOTTEN_AFTER_S
            }
            return {name: report for name, (_, report) in self._reports.items()}

    def of(self, generation: int, replicas: Collection[str]) -> list[ReplicaReport] | None:
        """The reports of one generation; None unless all these replicas have sent theirs."""
        latest = self.latest()
        reports = [latest.get(name) for name in replicas]
        if not reports or any(r is None or r.generation != generation for r in reports):
            return None
        return [report for report in reports if report is not None]

    def stats(self, generation: int) -> ShadowStats:
        """What the replicas counted in a generation, added up; a lost one's part is lost."""
        reports = [r for r in self.latest().values() if r.generation == generation]
        return ShadowStats(
            **{
                name: sum(getattr(report, name) for report in reports)
                for name in ShadowStats.model_fields
            }
        )

    def versions(self) -> dict[str, int]:
        """How many replicas serve each version."""
        return dict(Counter(r.version for r in self.latest().values() if r.version is not None))
