"""The registry, on real MLflow: versions, the champion, the way back, and what may go wrong."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from models.errors import InvalidPackage, NotFound
from models.package import (
    BUNDLED_CHAMPION,
    CHAMPION_VARIABLE,
    ModelPackage,
)
from models.registered_version import RegisteredVersion
from models.registry import Registry, bundled_champion
from models.registry_store import HISTORY_TAG, MODEL
from models.tracking_uri import REGISTRY_VARIABLE, open_client
from tests.models.packages import write_small_package

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow


def _add(registry: Registry, *names: str) -> list[RegisteredVersion]:
    folder = registry.bundled.parent
    return [registry.register(write_small_package(folder / name, name)) for name in names]


def _names(registry: Registry) -> list[str]:
    return [version.version for version in registry.versions()]


def test_a_registry_begins_with_the_bundled_package(registry: Registry) -> None:
    assert registry.versions() == []
    champion = registry.champion()
    assert (champion.version, champion.champion) == ("first", True)
    assert champion.metrics == {"balanced_accuracy": 0.5}
    assert champion.dataset_hash == "d" * 64
    assert registry.versions() == [champion]
    assert registry.history() == ["first"]


def test_the_environment_names_the_bundled_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CHAMPION_VARIABLE, raising=False)
    assert bundled_champion() == BUNDLED_CHAMPION
    monkeypatch.setenv(CHAMPION_VARIABLE, str(tmp_path))
    monkeypatch.setenv(REGISTRY_VARIABLE, f"sqlite:///{tmp_path}/mlflow.db")
    assert Registry().bundled == tmp_path


def test_the_champion_that_ships_is_registered_whole(
    registry: Registry, champion: ModelPackage
) -> None:
    registered = registry.register(champion.folder)
    copy = registry.resolve(registered.version)
    files = {*champion.manifest.files, "model.json"}
    assert {path.name for path in copy.iterdir()} == files
    for name in files:
        assert (copy / name).read_bytes() == (champion.folder / name).read_bytes()


def test_a_name_resolves_to_its_verified_package(registry: Registry) -> None:
    _add(registry, "second")
    folders = {name: registry.resolve(name) for name in ("champion", "first", "second")}
    assert folders["champion"] == folders["first"]
    assert ModelPackage.load(folders["first"]).manifest.version == "first"
    assert ModelPackage.load(folders["second"]).manifest.version == "second"
    # A folder is itself, and is not copied.
    assert registry.resolve(str(registry.bundled)) == registry.bundled


def test_only_files_of_the_manifest_are_taken(registry: Registry) -> None:
    (registry.bundled / "notes.txt").write_text("not for others")
    assert not (registry.resolve("champion") / "notes.txt").exists()


def test_the_same_content_is_registered_once(registry: Registry) -> None:
    champion = registry.champion()
    copy = shutil.copytree(registry.bundled, registry.bundled.parent / "copy")
    assert registry.register(copy) == champion
    assert _names(registry) == ["first"]


def test_a_name_belongs_to_one_content(registry: Registry) -> None:
    registry.champion()
    other = write_small_package(registry.bundled.parent / "other", "first", accuracy=0.9)
    with pytest.raises(InvalidPackage, match="another model under the name first"):
        registry.register(other)
    assert _names(registry) == ["first"]


def test_no_version_may_be_called_champion(registry: Registry) -> None:
    with pytest.raises(InvalidPackage, match="'champion'"):
        _add(registry, "champion")


def test_a_run_of_training_keeps_its_packages_apart(registry: Registry) -> None:
    client = open_client(registry.uri)
    run = client.create_run(registry.experiment_id()).info.run_id
    for name in ("a", "b"):
        package = write_small_package(registry.bundled.parent / name, name)
        registry.register(package, run_id=run)
    assert client.get_model_version(MODEL, "1").run_id == run
    assert ModelPackage.load(registry.resolve("a")).manifest.version == "a"
    assert ModelPackage.load(registry.resolve("b")).manifest.version == "b"


@pytest.mark.parametrize(
    ("moves", "champions"),
    [
        ("b", "ab"),
        ("b r", "aba"),
        ("b c r r", "abcba"),
        ("b c r b r", "abcbba"),  # promoting the champion changes nothing
        ("b a r r", "ababa"),
        ("b c r d r r", "abcbdba"),  # what was rolled back is forgotten
        ("a a b r", "aaaba"),
    ],
)
def test_rollback_undoes_promotions(registry: Registry, moves: str, champions: str) -> None:
    registry.bundled = write_small_package(registry.bundled.parent / "a", "a")
    seen = registry.champion().version
    _add(registry, "b", "c", "d")
    for move in moves.split():
        champion = registry.rollback() if move == "r" else registry.promote(move)
        assert champion.champion
        assert champion == registry.champion()
        assert [version for version in registry.versions() if version.champion] == [champion]
        seen += champion.version
    assert seen == champions


def test_there_is_nothing_before_the_first_champion(registry: Registry) -> None:
    with pytest.raises(NotFound, match="No earlier champion"):
        registry.rollback()
    registry.champion()
    _add(registry, "b")
    registry.promote("b")
    registry.rollback()
    with pytest.raises(NotFound, match="No earlier champion"):
        registry.rollback()
    assert registry.champion().version == "first"


def test_rollback_knows_moves_made_in_mlflow_and_passes_over_deleted_versions(
    registry: Registry,
) -> None:
    registry.champion()
    b, c = _add(registry, "b", "c")
    registry.promote("b")
    client = open_client(registry.uri)
    client.set_registered_model_alias(MODEL, "champion", str(c.number))
    assert registry.history() == ["first", "b", "c"]
    client.delete_model_version(MODEL, str(b.number))
    assert registry.rollback().version == "first"


@pytest.mark.parametrize("text", ["", "{", "null", '["1"]', "[true]", "3"])
def test_a_broken_history_is_no_obstacle(registry: Registry, text: str) -> None:
    registry.champion()
    _add(registry, "b")
    open_client(registry.uri).set_registered_model_tag(MODEL, HISTORY_TAG, text)
    assert registry.history() == ["first"]
    assert registry.promote("b").champion
    assert registry.rollback().version == "first"


class _Killed(BaseException):
    """Stands for SIGKILL: nobody handles it, so all that is written stays as it is."""


@pytest.mark.parametrize(
    "method",
    [
        "create_experiment",
        "log_artifact",
        "create_registered_model",
        "create_model_version",
        "set_registered_model_alias",
        "set_registered_model_tag",
    ],
)
def test_an_import_that_ends_half_way_does_not_block_the_next(
    registry: Registry, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{method}", _kill)
        with pytest.raises(_Killed):
            registry.champion()
    assert registry.champion().version == "first"
    assert len(registry.versions()) == 1
    assert registry.history() == ["first"]
    assert registry.resolve("champion").is_dir()


@pytest.mark.parametrize("method", ["set_registered_model_alias", "set_registered_model_tag"])
def test_a_move_that_ends_half_way_can_be_repeated_and_undone(
    registry: Registry, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.champion()
    _add(registry, "b")
    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{method}", _kill)
        with pytest.raises(_Killed):
            registry.promote("b")
    assert registry.promote("b").champion
    assert registry.history() == ["first", "b"]
    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{method}", _kill)
        with pytest.raises(_Killed):
            registry.rollback()
    assert registry.champion().version == "b"
    assert registry.rollback().version == "first"


def _kill(*arguments: object, **options: object) -> None:
    raise _Killed


def test_an_unknown_version_is_told(registry: Registry) -> None:
    registry.champion()
    for use in (registry.resolve, registry.promote, registry.version):
        with pytest.raises(NotFound, match=r"no version '2'.*`dermserve models list`"):
            use("2")


def test_a_registry_may_move_with_its_artifacts(registry: Registry, tmp_path: Path) -> None:
    old = registry.resolve("champion")
    new = tmp_path / "moved [to] 50%"
    new.mkdir()
    for name in ("mlflow.db", "mlflow-artifacts"):
        shutil.move(tmp_path / name, new / name)
    moved = Registry(f"sqlite:///{new / 'mlflow.db'}").resolve("champion")
    assert not old.exists()
    assert moved.is_relative_to(new)


def test_the_registry_is_quiet(
    tmp_path: Path, registry: Registry, capfd: pytest.CaptureFixture[str]
) -> None:
    registry.champion()
    with pytest.raises(NotFound):
        registry.rollback()
    assert capfd.readouterr() == ("", "")
    assert "mlflow" in sys.modules


def test_the_gates_verdict_stays_with_the_version(registry: Registry) -> None:
    _add(registry, "2", "3")
    assert registry.version("2").verdict is None
    registry.record_verdict("2", "refused", "Balanced accuracy fell. " * 500)
    registry.record_verdict("3", "passed", "Every rule was kept.")
    refused, passed = registry.version("2"), registry.version("3")
    assert (refused.verdict, passed.verdict) == ("refused", "passed")
    assert passed.reason == "Every rule was kept."
    assert refused.reason is not None
    assert refused.reason.startswith("Balanced accuracy fell.")
    assert RegisteredVersion.from_json(passed.to_json()) == passed
    with pytest.raises(NotFound, match="no version 'none'"):
        registry.record_verdict("none", "passed", "")


def test_a_verdict_that_is_none_of_ours_is_no_verdict(registry: Registry) -> None:
    (version,) = _add(registry, "2")
    client = open_client(registry.uri)
    client.set_model_version_tag(MODEL, str(version.number), "dermserve.gate", "<script>")
    assert registry.version("2").verdict is None


def test_the_version_before_the_champion_is_what_a_rollback_gives(registry: Registry) -> None:
    registry.champion()
    assert registry.previous() is None
    _add(registry, "2", "3")
    registry.promote("2")
    registry.promote("3")
    assert registry.previous() == "2"
    assert registry.rollback().version == "2"
    assert registry.previous() == "first"


def test_the_next_version_is_a_number_that_nobody_has(registry: Registry) -> None:
    registry.champion()
    assert registry.next_version() == "1"
    _add(registry, "2", "9", "tiny", "10.5")
    assert registry.next_version() == "10"
