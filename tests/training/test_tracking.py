"""Tracking: what MLflow holds of a run, and that a run goes on without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.tracking_uri import open_client
from training.progress import EpochRecord
from training.settings import Phase, TrainingSettings
from training.tracking import EXPERIMENT, Tracking

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow

SETTINGS = TrainingSettings(learning_rate=0.002, phases=(Phase(epochs=2, image_size=32),))
METRICS = {
    "balanced_accuracy": 0.5,
    "images": 12,
    "by_class": {"nv": {"recall": 0.25}},
    "a, \u00e4": 1,
}


def _record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 1.5 / epoch, 2.0, 31.5, METRICS)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


def _track(uri: str, run: str, warnings: list[str], **changes: float) -> Tracking:
    settings = SETTINGS.model_copy(update=changes)
    return Tracking(run, settings, {"version": "2", "dataset_hash": "abc"}, warnings.append, uri)


def test_a_run_is_recorded_and_goes_on_under_its_name(uri: str, tmp_path: Path) -> None:
    warnings: list[str] = []
    first = _track(uri, "2-one", warnings)
    first.on_epoch(_record(1))
    first.finish(None)
    client = open_client(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert experiment.artifact_location.endswith("mlflow-artifacts")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"

    second = _track(uri, "2-one", warnings, workers=2)
    second.on_epoch(_record(2))
    second.finish({"test": METRICS})
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("2-one", "FINISHED")
    assert run.data.params["learning_rate"] == "0.002"
    assert "workers" not in run.data.params
    assert (run.data.tags["version"], run.data.tags["dataset_hash"]) == ("2", "abc")
    course = client.get_metric_history(run.info.run_id, "train.loss")
    assert [(point.step, point.value) for point in course] == [(1, 1.5), (2, 0.75)]
    assert run.data.metrics["validation.by_class.nv.recall"] == 0.25
    assert run.data.metrics["package.test.balanced_accuracy"] == 0.5
    assert run.data.metrics["package.test.a_ _"] == 1
    assert warnings == []


def test_another_recipe_under_the_same_name_is_one_warning(uri: str) -> None:
    warnings: list[str] = []
    _track(uri, "2-two", warnings).finish(None)
    tracking = _track(uri, "2-two", warnings, learning_rate=0.5)
    tracking.on_epoch(_record(1))
    tracking.finish(None)
    (warning,) = warnings
    assert "is not recorded in MLflow" in warning


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "ftp://nowhere", "sqlite:////proc/no/x.db"])
def test_a_store_that_does_not_answer_is_one_warning(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("DERMSERVE_REGISTRY", raising=False)
    warnings: list[str] = []
    tracking = Tracking("run", SETTINGS, {}, warnings.append)
    tracking.on_epoch(_record(1))
    tracking.finish({"test": METRICS})
    (warning,) = warnings
    assert "goes on" in warning
    assert len(warning.splitlines()) == 1


def test_a_store_that_breaks_later_is_one_warning(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    warnings: list[str] = []
    tracking = _track(f"sqlite:///{database}", "run", warnings)
    for file in tmp_path.glob("mlflow.db*"):
        file.write_bytes(b"no database")
    tracking.on_epoch(_record(1))
    tracking.on_epoch(_record(2))
    tracking.finish(None)
    assert len(warnings) == 1
