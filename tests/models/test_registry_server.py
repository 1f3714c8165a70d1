"""The registry on a real MLflow server: fetched packages, and first starts on many machines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from models import registry_process
from models.errors import InvalidPackage, ModelUnavailable
from models.package import WEIGHTS_FILE, ModelPackage
from models.registry import Registry
from models.registry_store import RegistryStore
from tests.mlflow_server import mlflow_server
from tests.models.packages import write_small_package
from tests.object_store import BUCKET, ObjectStore

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow


@pytest.fixture(scope="module")
def mlflow_url(
    shared_object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of an MLflow server that keeps its artifacts in an object store."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shared_object_store.environment.items():
            patch.setenv(name, value)
        with mlflow_server(folder, artifacts=f"s3://{BUCKET}/mlflow") as url:
            yield url


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_package(tmp_path_factory.mktemp("packages") / "first", "first")


def test_first_starts_on_many_machines_make_one_version(
    mlflow_url: str, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cache of its own is a machine of its own: no lock keeps them apart.
    machines = [Registry(mlflow_url, cache=tmp_path / str(i), bundled=bundled) for i in range(3)]
    created: list[int] = []
    create = RegistryStore.create
    together = threading.Barrier(len(machines))

    def create_and_count(store: RegistryStore, package: ModelPackage, run_id: str | None) -> int:
        together.wait(timeout=60)  # each has seen that there is no version yet
        created.append(create(store, package, run_id))
        return created[-1]

    monkeypatch.setattr(RegistryStore, "create", create_and_count)
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(lambda machine: machine.resolve("champion"), machines))
    assert len(created) == 3
    assert [ModelPackage.load(folder).manifest.version for folder in folders] == ["first"] * 3
    assert len(set(folders)) == 3
    assert [version.number for version in machines[0].versions()] == [min(created)]
    assert machines[0].history() == ["first"]


def test_a_package_is_fetched_once_and_again_if_it_is_damaged(
    mlflow_url: str, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(mlflow_url, cache=tmp_path, bundled=bundled)
    downloads = []
    download = RegistryStore.download

    def download_and_count(store: RegistryStore, source: str, folder: Path) -> None:
        downloads.append(source)
        download(store, source, folder)

    monkeypatch.setattr(RegistryStore, "download", download_and_count)
    folder = registry.resolve("champion")
    assert folder == tmp_path / registry.champion().package_hash
    assert registry.resolve("champion") == folder
    assert len(downloads) == 1
    (folder / WEIGHTS_FILE).write_bytes(b"damaged")
    assert ModelPackage.load(registry.resolve("champion")).manifest.version == "first"
    assert len(downloads) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [folder.name]


def test_what_the_server_has_lost_or_altered_is_never_champion(
    mlflow_url: str, bundled: Path, tmp_path: Path
) -> None:
    registry = Registry(mlflow_url, cache=tmp_path, bundled=bundled)
    before = registry.champion()
    version = registry.register(write_small_package(tmp_path / "altered", "altered"))
    url = version.source.replace(
        "mlflow-artifacts:", f"{mlflow_url}/api/2.0/mlflow-artifacts/artifacts"
    )
    httpx.put(f"{url}/{WEIGHTS_FILE}", content=b"altered").raise_for_status()
    with pytest.raises(InvalidPackage, match="Version altered in the registry cannot serve"):
        registry.promote("altered")
    httpx.delete(f"{url}/{WEIGHTS_FILE}").raise_for_status()
    with pytest.raises((InvalidPackage, ModelUnavailable)):
        registry.promote("altered")
    assert registry.champion() == before


def test_the_process_speaks_with_a_server(mlflow_url: str, bundled: Path, tmp_path: Path) -> None:
    registry = Registry(mlflow_url, cache=tmp_path, bundled=bundled)
    registry.register(write_small_package(tmp_path / "second", "second"))
    assert registry_process.promote("second", registry).champion
    folder = registry_process.resolve("champion", registry)
    assert ModelPackage.load(folder).manifest.version == "second"
    assert registry_process.rollback(registry).version == "first"


def test_packages_reach_every_machine_through_an_object_store(
    mlflow_url: str, bundled: Path, object_store: ObjectStore, tmp_path: Path
) -> None:
    # A cache of its own is a machine of its own.
    one, other, third = (
        Registry(mlflow_url, cache=tmp_path / name, bundled=bundled)
        for name in ("one", "other", "third")
    )
    one.register(write_small_package(tmp_path / "distant", "distant"))
    one.promote("distant")
    package = ModelPackage.load(other.resolve("champion"))
    assert package.manifest.version == "distant"
    assert package.folder.is_relative_to(tmp_path / "other")
    with object_store.away():
        # Whoever has it goes on with it; whoever has not says so.
        assert other.resolve("champion") == package.folder
        with pytest.raises(ModelUnavailable):
            third.resolve("champion")
    assert ModelPackage.load(third.resolve("champion")).manifest.version == "distant"
    one.rollback()
