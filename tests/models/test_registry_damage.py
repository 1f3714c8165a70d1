"""What may be wrong with a registry: damaged packages, hostile names, versions of others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import InvalidPackage, ModelUnavailable, NotFound
from models.package import WEIGHTS_FILE
from models.registry import Registry
from models.registry_store import MODEL
from models.tracking_uri import open_client
from tests.models.packages import edit_manifest, write_small_package

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow

HOSTILE_NAMES = [
    "../../../etc/passwd",
    "..",
    "",
    "' OR '1'='1",
    "1'; DROP TABLE model_versions; --",
    "%",
    "1\0",
    "x" * 5000,
    "\u202e1",
    "/dev/zero",
]


def _damage(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes(b"damaged")


BREAKAGES: dict[str, Callable[[Path], object]] = {
    "damaged weights": _damage,
    "missing card": lambda folder: (folder / "card.md").unlink(),
    "nothing left": shutil.rmtree,
    "manifest of another format": lambda folder: edit_manifest(
        folder, lambda manifest: manifest.update(format=99)
    ),
    "manifest for other classes": lambda folder: edit_manifest(
        folder, lambda manifest: manifest.update(classes=["cat", "dog"])
    ),
    "other thresholds": lambda folder: edit_manifest(
        folder, lambda manifest: manifest["decision"].update(temperature=9)
    ),
    "weights and their hash": lambda folder: (
        _damage(folder),
        edit_manifest(folder, lambda manifest: manifest["files"].pop(WEIGHTS_FILE)),
    ),
}


@pytest.mark.parametrize("break_it", BREAKAGES.values(), ids=BREAKAGES)
def test_the_champion_never_moves_to_a_package_that_does_not_verify(
    registry: Registry, break_it: Callable[[Path], object]
) -> None:
    registry.champion()
    for name in ("b", "c"):
        registry.register(write_small_package(registry.bundled.parent / name, name))
    registry.promote("b")
    registry.promote("c")
    break_it(registry.resolve("b"))
    for use in (
        lambda: registry.resolve("b"),
        lambda: registry.promote("b"),
        registry.rollback,
    ):
        with pytest.raises(InvalidPackage, match="Version b in the registry cannot serve"):
            use()
    assert registry.champion().version == "c"
    assert registry.history() == ["first", "b", "c"]
    assert registry.promote("first").champion


@pytest.mark.parametrize("break_it", BREAKAGES.values(), ids=BREAKAGES)
def test_what_does_not_verify_is_not_registered(
    registry: Registry, break_it: Callable[[Path], object], request: pytest.FixtureRequest
) -> None:
    break_it(registry.bundled)
    if request.node.callspec.id in ("other thresholds", "weights and their hash"):
        return  # a valid package, if nobody has said what it should be
    with pytest.raises(InvalidPackage):
        registry.register(registry.bundled)
    with pytest.raises(InvalidPackage):
        registry.champion()
    assert registry.versions() == []


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: ascii(name)[:30])
def test_hostile_names_are_names_of_nothing(registry: Registry, name: str) -> None:
    before = registry.champion()
    with pytest.raises(NotFound):
        registry.promote(name)
    with pytest.raises(InvalidPackage):
        registry.resolve(name)
    assert registry.versions() == [before]


def test_versions_of_others_are_not_ours(registry: Registry) -> None:
    registry.champion()
    client = open_client(registry.uri)
    tags = {"dermserve.version": "2", "dermserve.package_hash": "../../../etc"}
    alien = client.create_model_version(MODEL, "file:///etc", tags=tags)
    assert [version.version for version in registry.versions()] == ["first"]
    client.set_registered_model_alias(MODEL, "champion", alien.version)
    with pytest.raises(InvalidPackage, match="was not registered by DermServe"):
        registry.champion()
    assert registry.promote("first").champion


def test_a_file_that_is_no_registry_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"this is no database at all" * 1000)
    with pytest.raises(ModelUnavailable, match=r"mlflow\.db cannot be read.*backup"):
        Registry(f"sqlite:///{path}").champion()


def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnavailable, match="cannot be written"):
        Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}").champion()
