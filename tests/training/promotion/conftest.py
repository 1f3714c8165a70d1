"""A catalogue, a registry with three versions, and a Serve in memory."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.catalogue.database import Database
from data.catalogue.rollouts import Rollouts
from models.registry import Registry
from tests.models.packages import write_small_package
from tests.training.promotion.replicas import InMemoryServe
from training.promotion import rollout
from training.promotion.gate_file import GateFile
from training.promotion.reports import ReplicaReports
from training.promotion.rollout import RolloutDriver


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/catalogue.db")
    yield database
    database.close()


@pytest.fixture
def rollouts(database: Database) -> Rollouts:
    return Rollouts(database)


@pytest.fixture(scope="session")
def registry_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry to copy: MLflow takes seconds to make one."""
    folder = tmp_path_factory.mktemp("registry") / "making"
    registry = _registry(folder)
    registry.champion()
    for name in ("2", "3"):
        registry.register(write_small_package(folder / name, name))
    # Where the files no longer lie at the recorded place, each copy has its own.
    return folder.rename(folder.with_name("made"))


@pytest.fixture
def registry(registry_folder: Path, tmp_path: Path) -> Registry:
    """Champion 1, and versions 2 and 3."""
    return _registry(shutil.copytree(registry_folder, tmp_path / "registry"))


def _registry(folder: Path) -> Registry:
    bundled = folder / "1"
    if not bundled.exists():
        write_small_package(bundled, "1")
    return Registry(f"sqlite:///{folder}/mlflow.db", cache=folder / "cache", bundled=bundled)


@pytest.fixture
def reports() -> ReplicaReports:
    return ReplicaReports()


@pytest.fixture
def serve(registry: Registry, reports: ReplicaReports) -> InMemoryServe:
    return InMemoryServe(registry, reports)


@pytest.fixture
def gate() -> GateFile:
    """The gate that ships, with windows that end at once."""
    shipped = GateFile.load()
    return shipped.model_copy(
        update={
            "shadow": shipped.shadow.model_copy(update={"window_s": 0.01}),
            "observation": shipped.observation.model_copy(update={"window_s": 0.01}),
        }
    )


@pytest.fixture
def stopped() -> threading.Event:
    return threading.Event()


@pytest.fixture
def driver(
    rollouts: Rollouts,
    registry: Registry,
    serve: InMemoryServe,
    reports: ReplicaReports,
    gate: GateFile,
    stopped: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> RolloutDriver:
    monkeypatch.setattr(rollout, "SWITCH_TIMEOUT_S", 0.5)
    return RolloutDriver(rollouts, registry, serve, reports, gate, stopped)
