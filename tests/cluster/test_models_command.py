"""`dermserve models`: what it prints, and one sentence for a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from models.package import CHAMPION_VARIABLE
from models.registry import Registry
from models.tracking_uri import REGISTRY_VARIABLE
from tests.models.packages import write_small_package

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Registry and packages; rich would read the brackets as a style and leave them out."""
    folder = tmp_path_factory.mktemp("models") / "a [red] folder"
    write_small_package(folder / "first", "first", accuracy=0.5)
    write_small_package(folder / "second", "second", accuracy=0.625)
    return folder


@pytest.fixture
def environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REGISTRY_VARIABLE, f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv(CHAMPION_VARIABLE, str(folder / "first"))


def _models(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments], env={"COLUMNS": "300"})


def _said(*arguments: str) -> str:
    result = _models(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("environment")
def test_a_life_of_versions(folder: Path) -> None:
    listed = _said("list")
    assert "first" in listed
    assert "0.500" in listed
    assert f"Champions so far: first. Registry: sqlite:///{folder}/mlflow.db" in listed

    assert "promote second" in _said("register", str(folder / "second"))
    assert "Version second is the champion." in _said("promote", "second")
    listed = _said("list")
    starred = [line for line in listed.splitlines() if "*" in line]
    assert len(starred) == 1
    assert "second" in starred[0]
    assert "0.625" in starred[0]
    assert "Champions so far: first -> second." in listed

    shown = _said("show")
    champion = Registry().champion()
    assert "second (champion)" in shown
    assert champion.package_hash in shown
    assert str(Registry().folder(champion)) in shown
    assert "Model card of second" in shown
    assert "(champion)" not in _said("show", "first")

    assert "Version first is the champion." in _said("rollback")
    assert Registry().champion().version == "first"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "arguments", [("show", "nine"), ("promote", "nine"), ("promote", "../first")]
)
def test_an_unknown_version_is_one_sentence_of_ours(arguments: tuple[str, ...]) -> None:
    result = _models(*arguments)
    assert result.exit_code == 1
    assert "no version" in str(result.exception)


@pytest.mark.parametrize("command", ["list", "show", "register", "promote", "rollback"])
def test_every_command_has_an_example(command: str) -> None:
    assert f"Example: dermserve models {command}" in _said(command, "--help")
