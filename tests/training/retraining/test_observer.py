"""What Prometheus is told of learning: true numbers, and none of what cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from data.catalogue.database import Database
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from models.registry import Registry
from tests.serve_app.told import Told, record_told, value_of
from tests.training.retraining.conftest import Upload
from training.retraining.observer import Observer
from training.retraining.readings import METRICS
from training.settings import RetrainSettings

SETTINGS = RetrainSettings(threshold=10)


class Look:
    """What one look at both told, by name and tags."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.names = {name for name, _ in told}
        for name, tags in told:
            assert {tag for tag, _ in tags} == set(METRICS[name][1])

    def value(self, name: str, **tags: str) -> float | None:
        return value_of(self._told, name, **tags)

    @property
    def missing(self) -> set[str]:
        return set(METRICS) - self.names


Looking = Callable[[Observer], Look]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Looking:
    told = record_told(monkeypatch, *METRICS)

    def look_once(observer: Observer) -> Look:
        told.clear()
        observer.tell_catalogue()
        observer.tell_registry()
        return Look(told)

    return look_once


@pytest.fixture
def observer(database: Database, registry: Registry) -> Observer:
    return Observer(database, registry, SETTINGS)


def test_before_anything_was_learned(observer: Observer, look: Looking) -> None:
    seen = look(observer)
    assert seen.value("dermserve_dependency_up", dependency="catalogue") == 1
    assert seen.value("dermserve_dependency_up", dependency="registry") == 1
    assert seen.value("dermserve_retraining_threshold") == 10
    assert seen.value("dermserve_retraining_silence_seconds") == 0
    registered = seen.value("dermserve_champion_registered_timestamp_seconds", version="1")
    assert registered is not None
    assert registered > 1.7e9
    # Of what has never been, nothing.
    assert seen.missing >= {
        "dermserve_gate_passed",
        "dermserve_retraining_finished_timestamp_seconds",
    }


def test_uploads_and_a_run_that_fell_silent(
    observer: Observer, runs: Runs, rollouts: Rollouts, upload: Upload, look: Looking
) -> None:
    upload(["mel", "nv", "nv", None])
    run = runs.request("head", "manual", "tester")
    assert runs.claim(run.id, "owner", 60) is not None
    runs.report(run.id, "owner", progress=0.25)
    seen = look(observer)
    assert seen.value("dermserve_retraining_new_images", label="nv") == 2
    assert seen.value("dermserve_uploads_labelled", label="mel") == 1
    assert seen.value("dermserve_uploads_unlabelled") == 1
    assert seen.value("dermserve_retraining_runs", state="running") == 1
    assert seen.value("dermserve_retraining_active") == 1
    assert seen.value("dermserve_retraining_progress") == 0.25
    silence = seen.value("dermserve_retraining_silence_seconds")
    assert silence is not None
    assert silence > 0


def test_a_challenger_that_was_refused(
    observer: Observer, runs: Runs, rollouts: Rollouts, look: Looking
) -> None:
    rules = [
        {"name": "new_images", "passed": True, "value": 12, "bound": 1},
        {"name": "subgroups", "passed": False, "value": None, "bound": -0.1},
    ]
    run = runs.request("head", "manual", "tester")
    assert runs.claim(run.id, "owner", 60) is not None
    runs.decide(run.id, "owner", {"passed": False, "reason": "No.", "rules": rules})
    runs.finish(run.id, "owner", "refused", "No.")
    rollouts.begin("promotion", "1", "2", "tester", "switching")
    seen = look(observer)
    assert seen.value("dermserve_gate_passed") == 0
    assert seen.value("dermserve_gate_rule_passed", rule="new_images") == 1
    assert seen.value("dermserve_gate_rule_passed", rule="subgroups") == 0
    assert seen.value("dermserve_gate_rule_value", rule="new_images") == 12
    assert seen.value("dermserve_gate_rule_value", rule="subgroups") is None
    assert seen.value("dermserve_gate_rule_bound", rule="subgroups") == -0.1
    assert seen.value("dermserve_rollout_state", state="switching") == 1
    assert seen.value("dermserve_rollout_state", state="completed") == 0
    assert seen.value("dermserve_rollouts", kind="promotion", state="switching") == 1
    assert not seen.missing - {"dermserve_champion_test_metric"}


def test_what_is_away_is_told_and_its_numbers_are_not(
    tmp_path: Path, registry: Registry, look: Looking
) -> None:
    (tmp_path / "file").write_bytes(b"")
    away = Database(f"sqlite:///{tmp_path}/file/catalogue.db")
    seen = look(Observer(away, registry, SETTINGS))
    assert seen.value("dermserve_dependency_up", dependency="catalogue") == 0
    assert seen.value("dermserve_dependency_up", dependency="registry") == 1
    assert not [name for name in seen.names if name.startswith("dermserve_retraining")]
