"""The registry from its own process: the same answers, many at once, and after a kill."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models import registry_process
from models.errors import DermServeError, InvalidPackage, ModelUnavailable, NotFound
from models.package import WEIGHTS_FILE, ModelPackage
from models.registry import Registry
from tests.conftest import PROJECT, free_port
from tests.models.packages import write_small_package

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow

KILLED = """
import os, signal, sys
from pathlib import Path
from models.registry import Registry
from models.tracking_uri import quieten_mlflow

quieten_mlflow()
import alembic.command

alembic.command.upgrade = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
Registry(sys.argv[1]).champion()
"""
"""A first start that is killed while it makes MLflow's tables."""


@pytest.fixture(scope="module")
def shared(registry_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with versions `first`, the champion, and `second`."""
    folder = tmp_path_factory.mktemp("registry")
    shutil.copyfile(registry_tables, folder / "mlflow.db")
    bundled = write_small_package(folder / "first", "first")
    registry = Registry(f"sqlite:///{folder}/mlflow.db", cache=folder / "cache", bundled=bundled)
    registry.champion()
    registry.register(write_small_package(folder / "second", "second"))
    return registry


def test_first_starts_at_once_after_one_was_killed_make_one_version(tmp_path: Path) -> None:
    bundled = write_small_package(tmp_path / "first", "first")
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db", cache=tmp_path, bundled=bundled)
    command = [sys.executable, "-c", KILLED, registry.uri]
    assert subprocess.run(command, cwd=PROJECT, timeout=300).returncode == -signal.SIGKILL
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: registry_process.resolve("champion", registry), range(3)))
    assert len(folders) == 1
    assert ModelPackage.load(folders.pop()).manifest.version == "first"
    assert [version.number for version in registry.versions()] == [1]
    assert registry.history() == ["first"]


@pytest.mark.parametrize("name", ["champion", "first", "second"])
def test_a_glance_at_the_file_agrees_with_mlflow(
    shared: Registry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = shared.resolve(name)
    monkeypatch.setattr(registry_process, "_call", _never)
    assert registry_process.resolve(name, shared) == asked


def _never(*arguments: object) -> object:
    raise AssertionError("a process was started")


def test_a_glance_needs_no_mlflow(shared: Registry) -> None:
    code = (
        "import sys; from models import registry_process as process; "
        "from models.registry import Registry; "
        f"print(process.resolve('champion', Registry({shared.uri!r}))); "
        "assert 'mlflow' not in sys.modules"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str(shared.resolve("champion"))


def test_what_a_glance_does_not_know_is_asked_of_mlflow(shared: Registry, tmp_path: Path) -> None:
    copy = tmp_path / "mlflow.db"
    shutil.copyfile(shared.uri.removeprefix("sqlite:///"), copy)
    registry = Registry(f"sqlite:///{copy}")
    assert registry_process._glance(registry, "champion") is not None
    with sqlite3.connect(copy) as connection:
        connection.execute("ALTER TABLE model_version_tags RENAME TO renamed")
    connection.close()
    assert registry_process._glance(registry, "champion") is None


def test_every_call_of_the_process(shared: Registry) -> None:
    assert registry_process.versions(shared) == shared.versions()
    promoted = registry_process.promote("second", shared)
    assert promoted == shared.champion()
    assert promoted.version == "second"
    assert registry_process.rollback(shared).version == "first"
    assert registry_process.champion(shared).version == "first"


@pytest.mark.parametrize(
    ("name", "error"),
    [("third", NotFound), ("../second", InvalidPackage), ("' OR 1=1 --", InvalidPackage)],
)
def test_errors_come_back_as_ours(shared: Registry, name: str, error: type[DermServeError]) -> None:
    with pytest.raises(error) as told:
        registry_process.resolve(name, shared)
    with pytest.raises(error) as expected:
        shared.resolve(name)
    assert told.value.message == expected.value.message


def test_a_damaged_version_is_refused_at_a_glance(registry: Registry) -> None:
    (registry.resolve("champion") / WEIGHTS_FILE).write_bytes(b"damaged")
    with pytest.raises(InvalidPackage, match="Version first in the registry cannot serve"):
        registry_process.resolve("champion", registry)


def test_an_absent_server_is_told_without_mlflow(tmp_path: Path) -> None:
    registry = Registry(f"http://me:secret@127.0.0.1:{free_port()}", cache=tmp_path)
    with pytest.raises(ModelUnavailable, match=r"does not answer.*Start the MLflow server") as told:
        registry_process.resolve("champion", registry)
    assert "secret" not in told.value.message


def test_a_process_that_hangs_is_ended(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_process, "CALL_TIMEOUT_S", 0.01)
    with pytest.raises(ModelUnavailable, match="did not answer"):
        registry_process.champion(registry)
