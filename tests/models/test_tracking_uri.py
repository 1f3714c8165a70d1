"""Which registry is used, and how its address is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidConfiguration, ModelUnavailable
from models.tracking_uri import (
    REGISTRY_VARIABLE,
    artifact_folder,
    database_file,
    locked,
    normalise,
    shown,
    tracking_uri,
)
from tests.conftest import PROJECT


def test_the_registry_is_ours_then_mlflows_then_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv(REGISTRY_VARIABLE, "https://registry")
    assert tracking_uri() == "https://registry"
    monkeypatch.setenv(REGISTRY_VARIABLE, "")
    assert tracking_uri() == "http://mlflow:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri() == f"sqlite:///{PROJECT / 'var' / 'mlflow.db'}"


def test_a_relative_file_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = database_file(normalise("sqlite:///sub/my.db"))
    assert database == tmp_path / "sub" / "my.db"
    assert artifact_folder(database) == tmp_path / "sub" / "mlflow-artifacts"
    assert database_file("http://host") is None


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "sqlite://",
        "sqlite:///",
        "postgresql://host/db",
        "mlruns",
        "file:///tmp",
        "http://",
        "http://[",
    ],
)
def test_what_is_no_registry_is_told(uri: str) -> None:
    with pytest.raises(InvalidConfiguration, match=REGISTRY_VARIABLE):
        normalise(uri)


def test_a_password_is_not_shown() -> None:
    assert shown("https://me:secret@host:5000/path") == "https://host:5000/path"
    assert shown("sqlite:////var/a@b.db") == "sqlite:////var/a@b.db"


def test_a_lock_that_stays_held_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.tracking_uri.LOCK_TIMEOUT_S", 0.05)
    with (
        locked(tmp_path / "lock"),
        pytest.raises(ModelUnavailable, match="Another process has held"),
        locked(tmp_path / "lock"),
    ):
        pass
    with locked(tmp_path / "lock"):  # free again
        pass
