"""The trainer without Serve: what replicas report of live images, it says in its own words."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import FOLDER
from data.catalogue.database import CATALOGUE_VARIABLE
from data.image_store import IMAGES_VARIABLE
from models.configuration import read_config
from models.live_sample import LiveSample
from models.package import ModelPackage
from models.registered_package import hash_of
from models.registry import Registry
from models.replica_report import ReplicaReport
from models.tracking_uri import REGISTRY_VARIABLE
from serve_app.metrics_schemas import Drift
from tests.training.drift.packages import write_watched_package
from tests.training.drift.samples import sample_of
from tests.training.promotion.replicas import COUNTS
from training.promotion.gate_file import PROMOTION_FILE, GateFile
from training.retraining.deployment import Trainer
from training.settings import DriftSettings, TrainingSettings
from training.storage import RUNS_VARIABLE

PATIENCE_S = 60.0


@pytest.fixture
def package(registry: Registry, tmp_path: Path) -> ModelPackage:
    """A version of the registry that can be watched."""
    package = write_watched_package(tmp_path / "watched", "4")
    registry.register(package.folder)
    return package


@pytest.fixture
def trainer(
    registry: Registry, package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Trainer]:
    monkeypatch.setenv(REGISTRY_VARIABLE, registry.uri)
    monkeypatch.setenv(CATALOGUE_VARIABLE, f"sqlite:///{tmp_path}/catalogue.db")
    monkeypatch.setenv(IMAGES_VARIABLE, str(tmp_path / "images"))
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path / "runs"))
    before = set(threading.enumerate())
    settings = read_config(FOLDER / "training.yaml", TrainingSettings).model_copy(
        update={"drift": DriftSettings(window=100, minimum=60, period_s=0.05)}
    )
    trainer = Trainer(settings, GateFile.load(PROMOTION_FILE))
    yield trainer
    trainer._stopped.set()
    for thread in set(threading.enumerate()) - before:
        if thread.name in ("rollout", "retrain", "drift"):
            thread.join(PATIENCE_S)


def _report(replica: str, sample: LiveSample | None) -> ReplicaReport:
    return ReplicaReport(
        replica_id=replica,
        generation=0,
        version="4",
        standby=None,
        load_error=None,
        standby_error=None,
        sample=sample,
        **COUNTS,  # type: ignore[arg-type]
    )


def _said(trainer: Trainer, status: str, samples: int) -> Drift:
    """What it says once it says that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        drift = Drift.model_validate(trainer.drift())
        if (drift.status, drift.samples) == (status, samples):
            return drift
        assert time.monotonic() < deadline, drift
        time.sleep(0.01)


def test_samples_of_all_replicas_become_one_assessment(
    trainer: Trainer, package: ModelPackage
) -> None:
    trainer.check_health()
    trainer.report(_report("a", None))
    assert Drift.model_validate(trainer.drift()).samples == 0
    trainer.report(_report("a", sample_of(30, package_hash=hash_of(package), seed=1)))
    assert _said(trainer, "collecting", 30).version == "4"
    trainer.report(_report("b", sample_of(40, package_hash=hash_of(package), seed=2)))
    drift = _said(trainer, "assessed", 70)
    assert drift.embedding is not None
    assert drift.embedding.p_value > 0.01
    # The samples are in the watch, and nowhere else.
    reports = trainer._reports.latest()
    assert reports.keys() == {"a", "b"}
    assert all(report.sample is None for report in reports.values())
