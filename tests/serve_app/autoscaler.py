"""Ray's autoscaler of one deployment without a cluster: its own code, on a clock of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ray.serve import autoscaling_policy
from ray.serve._private import autoscaling_state
from ray.serve._private.common import (
    RUNNING_REQUESTS_KEY,
    DeploymentHandleSource,
    DeploymentID,
    HandleMetricReport,
    ReplicaID,
    TimeStampedValue,
)
from ray.serve._private.config import DeploymentConfig, ReplicaConfig
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingConfig

TICK_S = 0.1
"""Between two decisions, as Serve's controller makes them."""

START_S = 5.0
"""From a decision to a replica that runs."""

_DEPLOYMENT = DeploymentID("classifier", "dermserve")


class _Clock:
    """In place of the module `time`."""

    now_s = 1e9

    def time(self) -> float:
        return self.now_s

    monotonic = time


class SimulatedAutoscaler:
    """One deployment under a load that does not depend on its replicas.

    Args:
        block: an `autoscaling_config`.
        monkeypatch: takes the clock back after the test.
    """

    def __init__(self, block: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self._clock = _Clock()
        monkeypatch.setattr(autoscaling_state, "time", self._clock)
        monkeypatch.setattr(autoscaling_policy, "time", self._clock)
        with pytest.warns(DeprecationWarning, match="metrics_interval_s"):
            self._config = AutoscalingConfig.model_validate(block)
        self._state: Any = autoscaling_state.DeploymentAutoscalingState(_DEPLOYMENT)
        # DeploymentConfig validates the block anew, and warns again.
        config = DeploymentConfig()
        config.autoscaling_config = self._config
        info: Any = DeploymentInfo(config, ReplicaConfig.create(object), 0, "")
        self._state.register(info, self._config.min_replicas)

    def run(self, load: Callable[[float], float], duration_s: float) -> list[tuple[float, int]]:
        """Let time pass.

        Args:
            load: calls in progress and waiting, all replicas together, at a time in seconds.
            duration_s: from time 0.

        Returns:
            Each decision that changed the number of replicas: its time in seconds, the number.
        """
        start_s = self._clock.now_s
        # As Ray's router does it.
        record_s = min(self._config.look_back_period_s / 5, self._config.metrics_interval_s)
        target = self._config.min_replicas
        ready_s = [0.0] * target
        samples: list[tuple[float, float]] = []
        next_record_s = next_report_s = 0.0
        changes = []
        for tick in range(round(duration_s / TICK_S)):
            at_s = tick * TICK_S
            self._clock.now_s = start_s + at_s
            if at_s >= next_record_s:
                samples.append((self._clock.now_s, load(at_s)))
                next_record_s += record_s
            running = [
                ReplicaID(str(number), _DEPLOYMENT)
                for number, ready in enumerate(ready_s)
                if ready <= at_s
            ]
            if at_s >= next_report_s:
                horizon_s = self._clock.now_s - self._config.look_back_period_s
                samples = [sample for sample in samples if sample[0] >= horizon_s]
                self._report(samples, running)
                next_report_s += self._config.metrics_interval_s
            self._state.update_running_replica_ids(running)
            decided = self._state.get_decision_num_replicas(target)
            if decided != target:
                target = decided
                changes.append((at_s, target))
                ready_s = ready_s[:target] + [at_s + START_S] * (target - len(ready_s))
        return changes

    def _report(self, samples: list[tuple[float, float]], running: list[ReplicaID]) -> None:
        """What the one handle in front of the replicas says; they share its calls evenly."""
        share = [TimeStampedValue(when, value / len(running)) for when, value in samples]
        self._state.record_request_metrics_for_handle(
            HandleMetricReport(
                deployment_id=_DEPLOYMENT,
                handle_id="handle",
                actor_id="ingress",
                handle_source=DeploymentHandleSource.REPLICA,
                queued_requests=[TimeStampedValue(when, 0) for when, _ in samples],
                metrics={RUNNING_REQUESTS_KEY: {each.to_full_id_str(): share for each in running}},
                timestamp=self._clock.now_s,
            )
        )
