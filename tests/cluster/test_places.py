"""Places: what several machines cannot share is refused by name, all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.places import check_shared, places
from data.catalogue.database import CATALOGUE_VARIABLE
from data.image_store import IMAGES_VARIABLE
from models.errors import InvalidConfiguration
from models.tracking_uri import REGISTRY_VARIABLE, var_folder
from training.storage import RUNS_VARIABLE

SHARED = {
    CATALOGUE_VARIABLE: "postgresql+psycopg://user:s3cret@db/dermserve",
    REGISTRY_VARIABLE: "http://mlflow:5000",
    IMAGES_VARIABLE: "s3://bucket/images",
    RUNS_VARIABLE: "/srv/runs",
}


def test_places_that_every_machine_reaches() -> None:
    check_shared(SHARED)
    check_shared(SHARED | {IMAGES_VARIABLE: "/mnt/images"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (CATALOGUE_VARIABLE, "sqlite:////srv/catalogue.db"),
        (REGISTRY_VARIABLE, "sqlite:////srv/mlflow.db"),
        (REGISTRY_VARIABLE, ""),
        (IMAGES_VARIABLE, str(var_folder() / "images")),
        (IMAGES_VARIABLE, "file:///srv/images"),
        (IMAGES_VARIABLE, "memory://images"),
        (RUNS_VARIABLE, str(var_folder() / "runs")),
        (RUNS_VARIABLE, "s3://bucket/runs"),
    ],
)
def test_a_place_on_one_machine_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        check_shared(SHARED | {name: value})
    assert f"Set {name} to " in refused.value.message
    assert "s3cret" not in refused.value.message
    others = SHARED.keys() - {name}
    assert not any(other in refused.value.message for other in others)


def test_the_defaults_are_refused_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SHARED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InvalidConfiguration) as refused:
        check_shared(places())
    assert all(name in refused.value.message for name in SHARED)


def test_places_are_whole_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUNS_VARIABLE, "runs")
    monkeypatch.setenv(IMAGES_VARIABLE, "s3://bucket/images")
    found = places()
    assert found[RUNS_VARIABLE] == str(tmp_path / "runs")
    assert found[IMAGES_VARIABLE] == "s3://bucket/images"


def test_runs_in_an_object_store_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder, it would be one on this machine, with a strange name."""
    monkeypatch.setenv(RUNS_VARIABLE, "s3://bucket/runs")
    with pytest.raises(InvalidConfiguration, match="must be a folder"):
        places()
