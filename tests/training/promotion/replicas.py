"""A Serve configuration and replicas in memory: they load what it says and report it."""

from __future__ import annotations

from typing import Any

import yaml

from models.registry import Registry
from models.replica_report import ReplicaReport
from tests.conftest import PROJECT
from training.promotion.reports import ReplicaReports
from training.promotion.serve_config import (
    RunningConfig,
    ServeConfig,
    ServeRefused,
    ServeUnreachable,
)

COUNTS = {
    "live_images": 0,
    "live_errors": 0,
    "shadow_images": 0,
    "disagreements": 0,
    "dropped": 0,
    "live_forward_s": 0.0,
    "shadow_forward_s": 0.0,
}


class InMemoryServe(ServeConfig):
    """Stands for Serve where only the order of steps is tested; the server tests have the real one.

    Args:
        registry: that the replicas resolve `champion` with.
        reports: that they send theirs to.
        replicas: their ids.
    """

    def __init__(
        self, registry: Registry, reports: ReplicaReports, replicas: tuple[str, ...] = ("a", "b")
    ) -> None:
        super().__init__("http://nowhere")
        self.document: dict[str, Any] = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
        self.written: list[dict[str, Any]] = []
        self.refuses = False
        self.absent_times = 0
        """How many more times it does not answer."""
        self.damaged: set[str] = set()
        """Versions that do not load."""
        self.counts: dict[str, float] = {}
        """What each replica has counted when it reports."""
        self.silent: set[str] = set()
        """Replicas that report nothing."""
        self._registry = registry
        self._reports = reports
        self._replicas = replicas
        self._serving = registry.champion().version

    @property
    def classifier(self) -> dict[str, Any]:
        found: dict[str, Any] = next(
            each
            for each in self.document["applications"][0]["deployments"]
            if each["name"] == "classifier"
        )
        return found

    def read(self) -> RunningConfig:
        if self.absent_times > 0:
            self.absent_times -= 1
            raise ServeUnreachable("Serve does not answer.")
        return RunningConfig(self.document, frozenset(self._replicas))

    def write(self, document: dict[str, Any]) -> None:
        if self.refuses:
            raise ServeRefused("Serve refuses it.")
        self.document = document
        self.written.append(document)
        self.report()

    def report(self) -> None:
        """Let every replica do what the configuration says, and say so."""
        config = self.classifier["user_config"]
        champion, standby = self._registry.champion().version, config["standby"]
        error = f"{champion} is damaged." if champion in self.damaged else None
        if error is None:
            self._serving = champion
        spoilt = standby in self.damaged
        for replica in set(self._replicas) - self.silent:
            self._reports.put(
                ReplicaReport(
                    replica_id=replica,
                    generation=config["generation"],
                    version=self._serving,
                    standby=None if spoilt else standby,
                    load_error=error,
                    standby_error=f"{standby} is damaged." if spoilt else None,
                    **{**COUNTS, **self.counts},  # type: ignore[arg-type]
                )
            )
