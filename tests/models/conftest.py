"""Fixtures of the registry's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.registry import Registry
from models.tracking_uri import open_client
from tests.models.packages import write_small_package


@pytest.fixture(scope="session")
def registry_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("tables") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    return path


@pytest.fixture
def registry(registry_tables: Path, tmp_path: Path) -> Registry:
    """A registry without a version; the bundled package is called `first`."""
    shutil.copyfile(registry_tables, tmp_path / "mlflow.db")
    bundled = write_small_package(tmp_path / "packages" / "first", "first")
    return Registry(
        f"sqlite:///{tmp_path / 'mlflow.db'}", cache=tmp_path / "cache", bundled=bundled
    )
