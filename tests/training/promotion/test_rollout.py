"""Rollouts step by step: forward, back, and on after the trainer was lost in between."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone, tzinfo

import pytest

from data.catalogue.rollouts import Rollout, Rollouts
from models.registry import Registry
from tests.training.promotion.replicas import InMemoryServe
from training.promotion import rollout as rollout_module
from training.promotion.gate_file import GateFile
from training.promotion.reports import ReplicaReports
from training.promotion.rollout import RolloutDriver, Stopped
from training.promotion.serve_config import ServeUnreachable

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow


def _begin(rollouts: Rollouts, state: str = "switching", to: str = "2") -> Rollout:
    return rollouts.begin("promotion", from_version="1", to_version=to, actor="tester", state=state)


def _drive(driver: RolloutDriver, rollouts: Rollouts, rollout: Rollout) -> list[str]:
    """Step until nothing is active; says the states that the rollout went through."""
    states = [rollout.state]
    for _ in range(10):
        if rollouts.active() is None:
            return states
        driver.step()
        if (state := rollouts.get(rollout.id).state) != states[-1]:
            states.append(state)
    raise AssertionError(f"the rollout does not end: {states}")


def _drive_to(state: str, driver: RolloutDriver, rollouts: Rollouts, rollout: Rollout) -> None:
    """Step until the rollout is in a state."""
    for _ in range(10):
        if rollouts.get(rollout.id).state == state:
            return
        driver.step()
    raise AssertionError(f"it is {rollouts.get(rollout.id).state} and never {state}")


def test_a_challenger_is_shadowed_switched_and_observed(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry, serve: InMemoryServe
) -> None:
    rollout = _begin(rollouts, "shadowing")
    states = _drive(driver, rollouts, rollout)
    assert states == ["shadowing", "switching", "observing", "completed"]
    assert registry.champion().version == "2"
    configs = [
        next(d for d in w["applications"][0]["deployments"] if d["name"] == "classifier")[
            "user_config"
        ]
        for w in serve.written
    ]
    assert [config["standby"] for config in configs] == ["2", "1", "1", "1"]
    assert configs[0]["shadow_share"] > 0
    assert configs[-1]["shadow_share"] == 0
    generations = [config["generation"] for config in configs]
    assert generations == sorted(generations)
    assert generations[0] < generations[1]
    ended = rollouts.get(rollout.id)
    assert ended.shadow is not None
    assert [rule["value"] for rule in ended.shadow["rules"]] == [None, None], "nothing was live"
    assert ended.finished is not None


def test_nothing_is_done_where_nothing_is_to_be_rolled_out(
    driver: RolloutDriver, serve: InMemoryServe
) -> None:
    driver.step()
    assert serve.written == []


def test_a_challenger_that_disagrees_too_often_in_the_shadow_stays_out(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry, serve: InMemoryServe
) -> None:
    serve.counts = {
        "live_images": 900,
        "shadow_images": 300,
        "disagreements": 290,
        "live_forward_s": 9.0,
        "shadow_forward_s": 3.0,
    }
    rollout = _begin(rollouts, "shadowing")
    assert _drive(driver, rollouts, rollout) == ["shadowing", "reverted"]
    assert registry.champion().version == "1"
    reason = rollouts.get(rollout.id).reason
    assert reason is not None
    assert "580 of 600" in reason
    assert serve.classifier["user_config"]["standby"] is None


@pytest.mark.parametrize("state", ["shadowing", "switching"])
def test_a_version_that_no_replica_can_load_goes_back(
    driver: RolloutDriver,
    rollouts: Rollouts,
    registry: Registry,
    serve: InMemoryServe,
    state: str,
) -> None:
    serve.damaged = {"2"}
    rollout = _begin(rollouts, state)
    assert _drive(driver, rollouts, rollout)[-1] == "failed"
    assert registry.champion().version == "1"
    assert "2 is damaged" in str(rollouts.get(rollout.id).reason)


def test_a_silent_replica_stops_the_rollout_in_the_end(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry, serve: InMemoryServe
) -> None:
    serve.silent = {"b"}
    rollout = _begin(rollouts)
    assert _drive(driver, rollouts, rollout) == ["switching", "failed"]
    assert registry.champion().version == "1"
    assert "not all of 2 replicas" in str(rollouts.get(rollout.id).reason)


def test_a_refused_put_moves_nothing(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry, serve: InMemoryServe
) -> None:
    serve.refuses = True
    rollout = _begin(rollouts)
    assert _drive(driver, rollouts, rollout) == ["switching", "failed"]
    assert registry.champion().version == "1"
    assert "Serve refuses it" in str(rollouts.get(rollout.id).reason)


@pytest.mark.parametrize("state", ["shadowing", "switching", "observing"])
def test_a_serve_controller_that_starts_again_stops_no_rollout(
    driver: RolloutDriver,
    rollouts: Rollouts,
    registry: Registry,
    serve: InMemoryServe,
    state: str,
) -> None:
    rollout = _begin(rollouts, "shadowing")
    _drive_to(state, driver, rollouts, rollout)
    serve.absent_times = 2
    assert _drive(driver, rollouts, rollouts.get(rollout.id))[-1] == "completed"
    assert registry.champion().version == "2"


def test_a_serve_that_stays_away_leaves_the_rollout_as_it_is(
    driver: RolloutDriver,
    rollouts: Rollouts,
    serve: InMemoryServe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rollout_module, "WRITE_TIMEOUT_S", 0.0)
    serve.absent_times = 10
    rollout = _begin(rollouts)
    with pytest.raises(ServeUnreachable):
        driver.step()
    assert rollouts.get(rollout.id).state == "switching"


def test_a_way_back_that_is_damaged_ends_the_rollout_all_the_same(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry, serve: InMemoryServe
) -> None:
    serve.damaged = {"2"}
    weights = registry.folder(registry.version("1")) / "weights.safetensors"
    weights.write_bytes(b"!")
    rollout = _begin(rollouts)
    assert _drive(driver, rollouts, rollout) == ["switching", "failed"]
    assert "could not go back" in str(rollouts.get(rollout.id).reason)


def test_a_pin_in_the_configuration_is_respected(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry, serve: InMemoryServe
) -> None:
    serve.classifier["user_config"] = {"model": "1"}
    rollout = _begin(rollouts)
    assert _drive(driver, rollouts, rollout) == ["switching", "failed"]
    assert registry.champion().version == "1"
    assert serve.written == []
    assert "pins the model to 1" in str(rollouts.get(rollout.id).reason)


def test_errors_of_the_new_version_bring_the_old_one_back(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry, serve: InMemoryServe
) -> None:
    rollout = _begin(rollouts)
    serve.counts = {"live_images": 500, "live_errors": 200}
    assert _drive(driver, rollouts, rollout) == ["switching", "observing", "reverted"]
    assert registry.champion().version == "1"
    assert registry.version("2").verdict == "refused"
    back = rollouts.latest()
    assert back is not None
    assert (back.kind, back.from_version, back.to_version) == ("automatic_rollback", "2", "1")
    assert serve.classifier["user_config"]["model"] == "champion"


def test_a_rollback_is_an_undo(
    driver: RolloutDriver, rollouts: Rollouts, registry: Registry
) -> None:
    for version in ("2", "3"):
        registry.promote(version)
    rollout = rollouts.begin(
        "rollback", from_version="3", to_version="2", actor="tester", state="switching"
    )
    assert _drive(driver, rollouts, rollout)[-1] == "completed"
    assert registry.history() == ["1", "2"]


@pytest.mark.parametrize("lost_in", ["shadowing", "switching", "observing"])
def test_another_trainer_goes_on_from_any_state(
    driver: RolloutDriver,
    rollouts: Rollouts,
    registry: Registry,
    serve: InMemoryServe,
    gate: GateFile,
    lost_in: str,
) -> None:
    rollout = _begin(rollouts, "shadowing")
    _drive_to(lost_in, driver, rollouts, rollout)
    if lost_in == "switching":
        registry.promote("2")  # lost between the alias and the configuration
    reports = ReplicaReports()
    successor = RolloutDriver(
        rollouts, registry, InMemoryServe(registry, reports), reports, gate, threading.Event()
    )
    assert _drive(successor, rollouts, rollouts.get(rollout.id))[-1] == "completed"
    assert registry.champion().version == "2"
    assert registry.history() == ["1", "2"]


@pytest.mark.parametrize("jump", [timedelta(days=-3), timedelta(days=3)])
def test_a_clock_that_jumps_neither_ends_the_observation_nor_keeps_it(
    driver: RolloutDriver,
    rollouts: Rollouts,
    gate: GateFile,
    monkeypatch: pytest.MonkeyPatch,
    jump: timedelta,
) -> None:
    rollout = _begin(rollouts)
    driver.step()
    assert rollouts.get(rollout.id).state == "observing"
    looks = 0

    def wait(seconds: float) -> None:
        nonlocal looks
        looks += 1
        _Clock.moved = jump

    class _Clock(datetime):
        moved = timedelta()

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + cls.moved

    window_s = 0.2
    rollouts.update(
        rollout.id,
        observation={"until": (datetime.now(timezone.utc) + timedelta(seconds=9)).isoformat()},
    )
    observation = gate.observation.model_copy(update={"window_s": window_s})
    monkeypatch.setattr(driver, "_gate", gate.model_copy(update={"observation": observation}))
    monkeypatch.setattr(driver, "_wait", wait)
    monkeypatch.setattr(rollout_module, "datetime", _Clock)
    began = time.monotonic()
    driver.step()
    assert rollouts.get(rollout.id).state == "completed"
    assert looks > 0
    assert time.monotonic() - began >= window_s


def test_a_trainer_that_shuts_down_leaves_the_rollout_to_the_next(
    driver: RolloutDriver, rollouts: Rollouts, serve: InMemoryServe, stopped: threading.Event
) -> None:
    serve.silent = {"a", "b"}
    stopped.set()
    rollout = _begin(rollouts)
    with pytest.raises(Stopped):
        driver.step()
    assert rollouts.get(rollout.id).state == "switching"


def test_the_pool_is_held_while_a_version_is_observed_and_then_let_go(
    driver: RolloutDriver, rollouts: Rollouts, serve: InMemoryServe
) -> None:
    serve.classifier["autoscaling_config"] = {"min_replicas": 1, "max_replicas": 4}
    rollout = _begin(rollouts)
    driver.step()
    assert serve.classifier["autoscaling_config"]["min_replicas"] == 2
    assert rollouts.get(rollout.id).autoscaling == {"before": 1, "during": 2}
    _drive(driver, rollouts, rollouts.get(rollout.id))
    assert serve.classifier["autoscaling_config"]["min_replicas"] == 1
