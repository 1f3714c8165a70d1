"""A rollout: a version on its way into every replica, watched, and back if it does not hold.

The catalogue says how far a rollout is, so that a trainer that takes over goes on from there.
Every step may be done twice: the alias that is there already is not moved again, and the same
configuration changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from data.catalogue.rollouts import Rollout, Rollouts
from models.errors import DermServeError, ModelPinned, ModelUnavailable
from models.registry import Registry
from training.promotion.gate_file import GateFile
from training.promotion.handover import begin_after
from training.promotion.live import ShadowStats, judge_observation, judge_shadow
from training.promotion.reports import ReplicaReports
from training.promotion.rule_result import RuleResult
from training.promotion.serve_config import (
    RunningConfig,
    ServeConfig,
    ServedModels,
    ServeRefused,
    ServeUnreachable,
)

logger = logging.getLogger("ray.serve")

SWITCH_TIMEOUT_S = 90.0
"""Longest wait until every replica holds a version; loading beside a load test takes 20 s."""

WRITE_TIMEOUT_S = 30.0
"""Longest patience with a dashboard or a Serve controller that is starting again."""

POLL_S = 0.2
ROLLBACKS = ("rollback", "automatic_rollback")

Answer = TypeVar("Answer")


class NotServed(DermServeError):
    """A version did not come up in every replica, or did not hold there."""

    status, code = 409, "not_served"


class Stopped(Exception):
    """The trainer is shutting down; whoever comes next goes on."""


class RolloutDriver:
    """Carries rollouts through their states; one at a time, from one thread.

    Args:
        rollouts: of the catalogue.
        registry: holds the alias.
        serve: the configuration as it runs.
        reports: of the replicas.
        gate: bounds of the shadow and of the observation.
        stopped: set when the trainer shuts down.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        registry: Registry,
        serve: ServeConfig,
        reports: ReplicaReports,
        gate: GateFile,
        stopped: threading.Event,
    ) -> None:
        self._rollouts = rollouts
        self._registry = registry
        self._serve = serve
        self._reports = reports
        self._gate = gate
        self._stopped = stopped

    def step(self) -> None:
        """Carry the active rollout, if there is one, through its present state.

        Raises:
            Stopped: if the trainer shuts down meanwhile.
            CatalogueUnavailable, ModelUnavailable, ServeUnreachable: if the catalogue, the
                registry or Serve does not answer; the next step tries again.
        """
        rollout = self._rollouts.active()
        if rollout is None:
            return
        try:
            match rollout.state:
                case "shadowing":
                    self._shadow(rollout)
                case "switching":
                    self._switch(rollout)
                case "observing":
                    self._observe(rollout)
        except (NotServed, ServeRefused, ModelPinned) as error:
            self._undo(rollout, error.message)

    def _shadow(self, rollout: Rollout) -> None:
        """Let the challenger score a share of live images, unseen."""
        rules, generation = self._gate.shadow, _generation(rollout, "shadowing")
        models = ServedModels(generation, rollout.to_version, rules.share)
        self._write(models)
        self._await_replicas(generation, rollout.from_version, rollout.to_version)
        deadline = time.monotonic() + rules.window_s
        while True:
            stats = self._reports.stats(generation)
            left = deadline - time.monotonic()
            if stats.shadow_images >= rules.minimum_images or left <= 0:
                break
            self._wait(min(POLL_S, left))
        results = judge_shadow(stats, self._gate)
        record = _record(stats, results)
        if failed := _failed(results):
            self._write(
                ServedModels(generation, self._registry.previous()), min_replicas=_before(rollout)
            )
            self._rollouts.update(rollout.id, state="reverted", shadow=record, reason=failed)
        else:
            self._rollouts.update(rollout.id, state="switching", shadow=record)

    def _switch(self, rollout: Rollout) -> None:
        """Move the alias, tell the replicas, and wait until each of them serves the version."""
        generation = _generation(rollout, "switching")
        running = self._patiently(self._unpinned)
        held = rollout.autoscaling or self._hold(running)
        if rollout.autoscaling is None and held is not None:
            self._rollouts.update(rollout.id, autoscaling=held)
        self._move_alias(rollout)
        self._write(
            ServedModels(generation, rollout.from_version, self._gate.observation.share),
            min_replicas=held["during"] if held else None,
        )
        self._await_replicas(generation, rollout.to_version, None)
        until = datetime.now(timezone.utc) + timedelta(seconds=self._gate.observation.window_s)
        self._rollouts.update(
            rollout.id, state="observing", observation={"until": until.isoformat()}
        )

    def _observe(self, rollout: Rollout) -> None:
        """Watch the version for a while, with its predecessor warm beside it."""
        generation = _generation(rollout, "switching")
        held = rollout.autoscaling
        # Said again, because the server may have been started anew or deployed in between.
        self._write(
            ServedModels(generation, rollout.from_version, self._gate.observation.share),
            min_replicas=int(held["during"]) if held else None,
        )
        observation = rollout.observation or {}
        until = datetime.fromisoformat(observation["until"])
        # The wall clock, which may jump, has no say but in what a trainer before this one has left.
        left_s = (until - datetime.now(timezone.utc)).total_seconds()
        deadline = time.monotonic() + min(max(left_s, 0), self._gate.observation.window_s)
        while True:
            stats = self._reports.stats(generation)
            results = judge_observation(stats, self._gate)
            record = {**observation, **_record(stats, results)}
            # A rollback is never turned back: two bad versions would take turns for ever.
            if (failed := _failed(results)) and rollout.kind not in ROLLBACKS:
                self._roll_back(rollout, record, failed)
                return
            if time.monotonic() >= deadline:
                break
            if (now := self._rollouts.get(rollout.id)).state != "observing":
                logger.info("Rollout %d was superseded: %s", rollout.id, now.state)
                return
            self._wait(POLL_S)
        # The predecessor stays warm: a rollback is to take seconds. It scores nothing any more.
        # A pin that came meanwhile is an operator's wish, and no fault of the version's.
        with suppress(ModelPinned):
            self._write(
                ServedModels(generation, rollout.from_version), min_replicas=_before(rollout)
            )
        self._rollouts.update(rollout.id, state="completed", observation=record)

    def _roll_back(self, rollout: Rollout, record: dict[str, Any], reason: str) -> None:
        """Begin the way back of a version that every replica serves."""
        logger.error("Version %s is rolled back: %s", rollout.to_version, reason)
        self._registry.record_verdict(rollout.to_version, "refused", reason)
        self._rollouts.update(rollout.id, observation=record)
        begin_after(
            self._rollouts,
            rollout,
            "automatic_rollback",
            from_version=rollout.to_version,
            to_version=rollout.from_version,
            actor="trainer",
            state="switching",
            run_id=rollout.run_id,
            reason=reason,
        )

    def _undo(self, rollout: Rollout, reason: str) -> None:
        """Put alias and configuration back to where they were before the rollout."""
        logger.error("Version %s is not rolled out: %s", rollout.to_version, reason)
        try:
            moved = rollout.from_version != rollout.to_version
            if moved and self._registry.champion().version == rollout.to_version:
                if rollout.kind in ROLLBACKS:
                    self._registry.promote(rollout.from_version)
                else:
                    self._registry.rollback()
        except ModelUnavailable:
            raise
        except DermServeError as error:
            reason = f"{reason} The alias could not go back: {error.message}"
        try:
            # A generation of its own: replicas that did switch have to look at the alias again.
            models = ServedModels(_generation(rollout, "reverted"), self._registry.previous())
            self._write(models, min_replicas=_before(rollout))
        except (ServeRefused, ModelPinned) as error:
            # The alias is back, and replicas that start follow it.
            reason = f"{reason} Replicas could not be told to go back: {error.message}"
        self._rollouts.update(rollout.id, state="failed", reason=reason)

    def _move_alias(self, rollout: Rollout) -> None:
        """Raises: NotServed: if the version's package is gone or damaged."""
        if self._registry.champion().version == rollout.to_version:
            return
        try:
            if rollout.kind in ROLLBACKS and self._registry.previous() == rollout.to_version:
                self._registry.rollback()
            else:
                self._registry.promote(rollout.to_version)
        except DermServeError as error:
            raise NotServed(error.message) from error

    def _await_replicas(self, generation: int, version: str, standby: str | None) -> None:
        """Wait until every replica that takes requests reports the models of a generation.

        Raises:
            NotServed: if one of them cannot load them, or the time is over.
        """
        deadline = time.monotonic() + SWITCH_TIMEOUT_S
        missing = "no replica takes requests"
        while time.monotonic() < deadline:
            try:
                replicas = self._serve.read().replicas
            except ServeUnreachable as error:  # Serve's controller may be starting again
                replicas, missing = frozenset(), error.message
            reports = self._reports.of(generation, replicas)
            if reports is not None:
                for report in reports:
                    problem = report.load_error or (standby and report.standby_error)
                    if problem:
                        raise NotServed(f"Version {standby or version} does not load. {problem}")
                if all(
                    report.version == version and standby in (None, report.standby)
                    for report in reports
                ):
                    return
            if replicas:
                missing = f"not all of {len(replicas)} replicas report it"
            self._wait(POLL_S)
        raise NotServed(
            f"Version {standby or version} is not in every replica after {SWITCH_TIMEOUT_S:.0f} s: "
            f"{missing}. Look at the logs of the classifier's replicas."
        )

    def _write(self, models: ServedModels, min_replicas: int | None = None) -> None:
        self._patiently(lambda: self._serve.write(self._unpinned().serving(models, min_replicas)))

    def _unpinned(self) -> RunningConfig:
        running = self._serve.read()
        if running.pinned is not None:
            raise ModelPinned(
                f"The Serve configuration pins the model to {running.pinned}. Deploy it with "
                "`model: champion` to let versions be rolled out."
            )
        return running

    def _patiently(self, action: Callable[[], Answer]) -> Answer:
        """Do something with Serve; its controller may be away for some seconds."""
        deadline = time.monotonic() + WRITE_TIMEOUT_S
        while True:
            try:
                return action()
            except ServeUnreachable:
                if time.monotonic() >= deadline:
                    raise
            self._wait(POLL_S)

    def _hold(self, running: RunningConfig) -> dict[str, int] | None:
        """Keep the replicas that observe: the pool may grow meanwhile, not shrink."""
        before = running.min_replicas
        if before is None:
            return None
        return {"before": before, "during": max(before, len(running.replicas))}

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise Stopped


def _generation(rollout: Rollout, state: str) -> int:
    """Numbers that grow with the rollouts and, within one, with its states."""
    return 3 * rollout.id + ("shadowing", "switching", "reverted").index(state)


def _before(rollout: Rollout) -> int | None:
    return None if rollout.autoscaling is None else int(rollout.autoscaling["before"])


def _record(stats: ShadowStats, results: tuple[RuleResult, ...]) -> dict[str, Any]:
    return {**stats.model_dump(), "rules": [result.model_dump(mode="json") for result in results]}


def _failed(results: tuple[RuleResult, ...]) -> str | None:
    """What the rules that were not kept say; None if all were."""
    return " ".join(result.sentence for result in results if not result.passed) or None
