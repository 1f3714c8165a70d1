"""What Prometheus is told of learning: true numbers, and none of what cannot be reached."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.catalogue.database import Database
from data.catalogue.rollouts import Rollouts
from data.catalogue.runs import Runs
from models.registry import Registry
from tests.serve_app.told import record_told, value_of
from tests.training.retraining.conftest import Upload
from tests.waiting import PATIENCE_S
from training.retraining import observer as module
from training.retraining.observer import Observer
from training.retraining.readings import METRICS, Reading
from training.settings import RetrainSettings

SETTINGS = RetrainSettings(threshold=10)


@dataclass
class Look:
    """What one look told, by name and tags."""

    readings: list[Reading]

    def value(self, name: str, **tags: str) -> float | None:
        found = [each.value for each in self.readings if (each.name, each.tags) == (name, tags)]
        assert len(found) <= 1
        return found[0] if found else None


def _look(observer: Observer) -> Look:
    readings = list(observer.look())
    for reading in readings:
        assert set(reading.tags) == set(METRICS[reading.name][1])
    return Look(readings)


@pytest.fixture
def observer(database: Database, registry: Registry, stopped: threading.Event) -> Observer:
    return Observer(database, registry, SETTINGS, stopped)


def test_before_anything_was_learned(observer: Observer) -> None:
    look = _look(observer)
    assert look.value("dermserve_dependency_up", dependency="catalogue") == 1
    assert look.value("dermserve_dependency_up", dependency="registry") == 1
    assert look.value("dermserve_retraining_threshold") == 10
    assert look.value("dermserve_retraining_silence_seconds") == 0
    registered = look.value("dermserve_champion_registered_timestamp_seconds", version="1")
    assert registered is not None
    assert registered > 1.7e9
    # Of what has never been, nothing.
    assert _missing(look.readings) >= {
        "dermserve_gate_passed",
        "dermserve_retraining_finished_timestamp_seconds",
    }


def test_uploads_and_a_run_that_fell_silent(
    observer: Observer, runs: Runs, rollouts: Rollouts, upload: Upload
) -> None:
    upload(["mel", "nv", "nv", None])
    run = runs.request("head", "manual", "tester")
    assert runs.claim(run.id, "owner", 60) is not None
    runs.report(run.id, "owner", progress=0.25)
    look = _look(observer)
    assert look.value("dermserve_retraining_new_images", label="nv") == 2
    assert look.value("dermserve_uploads_labelled", label="mel") == 1
    assert look.value("dermserve_uploads_unlabelled") == 1
    assert look.value("dermserve_retraining_runs", state="running") == 1
    assert look.value("dermserve_retraining_active") == 1
    assert look.value("dermserve_retraining_progress") == 0.25
    silence = look.value("dermserve_retraining_silence_seconds")
    assert silence is not None
    assert silence > 0


def test_a_challenger_that_was_refused(observer: Observer, runs: Runs, rollouts: Rollouts) -> None:
    rules = [
        {"name": "new_images", "passed": True, "value": 12, "bound": 1},
        {"name": "subgroups", "passed": False, "value": None, "bound": -0.1},
    ]
    run = runs.request("head", "manual", "tester")
    assert runs.claim(run.id, "owner", 60) is not None
    runs.decide(run.id, "owner", {"passed": False, "reason": "No.", "rules": rules})
    runs.finish(run.id, "owner", "refused", "No.")
    rollouts.begin("promotion", "1", "2", "tester", "switching")
    look = _look(observer)
    assert look.value("dermserve_gate_passed") == 0
    assert look.value("dermserve_gate_rule_passed", rule="new_images") == 1
    assert look.value("dermserve_gate_rule_passed", rule="subgroups") == 0
    assert look.value("dermserve_gate_rule_value", rule="new_images") == 12
    assert look.value("dermserve_gate_rule_value", rule="subgroups") is None
    assert look.value("dermserve_gate_rule_bound", rule="subgroups") == -0.1
    assert look.value("dermserve_rollout_state", state="switching") == 1
    assert look.value("dermserve_rollout_state", state="completed") == 0
    assert look.value("dermserve_rollouts", kind="promotion", state="switching") == 1
    assert not _missing(look.readings) - {"dermserve_champion_test_metric"}


def test_what_is_away_is_told_and_its_numbers_are_not(
    tmp_path: Path, registry: Registry, stopped: threading.Event
) -> None:
    (tmp_path / "file").write_bytes(b"")
    away = Database(f"sqlite:///{tmp_path}/file/catalogue.db")
    look = _look(Observer(away, registry, SETTINGS, stopped))
    assert look.value("dermserve_dependency_up", dependency="catalogue") == 0
    assert look.value("dermserve_dependency_up", dependency="registry") == 1
    assert not [each for each in look.readings if each.name.startswith("dermserve_retraining")]


def test_it_tells_until_the_trainer_stops(
    observer: Observer, stopped: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = record_told(monkeypatch)
    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    looks = 0
    look = observer.look

    def stumbling() -> Iterable[Reading]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("a mistake of ours")
        stopped.set()  # before it looks: a look that fails is the last one too
        yield from look()

    monkeypatch.setattr(observer, "look", stumbling)
    thread = threading.Thread(target=observer.run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "it does not stop"
    assert looks == 2
    assert value_of(told, "dermserve_dependency_up", dependency="registry") == 1


def _missing(readings: list[Reading]) -> set[str]:
    return set(METRICS) - {reading.name for reading in readings}
