"""What DEPLOYMENT.md tells people to type works, and what it computes is right."""

from __future__ import annotations

import itertools
import math
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from cluster.cli import app
from data.catalogue.api_key import Role
from data.catalogue.audit import catalogue_id
from data.catalogue.audit import verify as verify_log
from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.catalogue.keys import Keys
from data.catalogue.uploads import Uploads
from data.image_store import IMAGES_VARIABLE, ImageStore, image_key
from models import registry_process
from models.package import ModelPackage
from models.registered_version import RegisteredVersion
from models.registry import Registry
from models.tracking_uri import REGISTRY_VARIABLE
from tests.conftest import PROJECT
from tests.data.catalogue.examples import Adder, new_upload
from tests.data.catalogue.postgresql import PostgresServer, binaries, new_schema
from tests.models.packages import write_small_package
from training.storage import RUNS_VARIABLE

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow

DOCUMENT = (PROJECT / "DEPLOYMENT.md").read_text(encoding="utf-8")
BENCHMARKS = (PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent

RUN = {
    "a key and its list": "dermserve keys create",
    "the secrets": "mkdir -p var/secrets",
    "the versions": "dermserve models list\n",
    "the backup": "for folder in mlflow-artifacts",
    "the restore": "aside=",
    "the dump": "pg_dump",
    "the restored dump": "pg_restore",
}
"""How each block that is run here is known."""

ELSEWHERE = {"docker", "kubectl", "sudo", "echo", "DERMSERVE_IMAGE=dermserve:before"}
"""What the other blocks begin with: an engine, a cluster, an administrator."""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def _block(name: str) -> str:
    (block,) = [
        each
        for each in _blocks("sh")
        if (each == RUN[name] if RUN[name].endswith("\n") else RUN[name] in each)
    ]
    return block


def _lines() -> list[str]:
    """The commands that are not run here."""
    return [line for block in _blocks("console") for line in block.splitlines() if line]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shell of the reader's, whose state is in `var/` of an empty folder."""
    var = tmp_path / "var"
    var.mkdir()
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "COLUMNS": "200",
        CATALOGUE_VARIABLE: f"sqlite:///{var}/catalogue.db",
        REGISTRY_VARIABLE: f"sqlite:///{var}/mlflow.db",
        IMAGES_VARIABLE: f"{var}/images",
        RUNS_VARIABLE: f"{var}/runs",
    }


Shell = Callable[[str], str]


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Shell:
    """Runs a block as it stands there."""

    def run(block: str) -> str:
        result = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def test_every_block_is_run_or_cannot_be() -> None:
    run = {_block(name) for name in RUN}
    assert set(_blocks("sh")) == run
    assert {line.split()[0] for line in _lines()} == ELSEWHERE
    assert DOCUMENT.count("```") == 2 * (len(_blocks("sh")) + len(_blocks("console")))


def test_a_key_is_made_and_listed(shell: Shell, tmp_path: Path) -> None:
    listed = shell(_block("a key and its list"))
    assert re.fullmatch(r"ds_\w+\n", (tmp_path / "ward-7.key").read_text().replace("-", "_"))
    assert "ward-7" in listed


def test_the_secrets_are_made(shell: Shell, tmp_path: Path) -> None:
    shell(_block("the secrets"))
    folder = tmp_path / "var" / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    named = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["secrets"]
    assert {path.name for path in folder.iterdir()} == named.keys()
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert made.pop("metrics_key") == ""
    assert len(set(made.values())) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in made.values())


class _State:
    """A catalogue, a registry and images as a server has them, and what they answer."""

    def __init__(self, environment: dict[str, str], packages: Path) -> None:
        self._environment = environment
        self.packages = packages

    def fill(self) -> None:
        """Three uploads with their images, one of them labelled anew, a key, two versions."""
        database = Database(self._environment[CATALOGUE_VARIABLE])
        store = ImageStore(self._environment[IMAGES_VARIABLE])
        adder = Adder(database)
        for number, label in enumerate(["mel", "nv", None]):
            new = new_upload(number, label=label)
            store.put(new.content_hash, ".jpg", b"content %d" % number)
            adder.add(new)
        store.belong_to(catalogue_id(database) or "")
        Keys(database).create("ward-7", [Role.PREDICT], "tester")
        database.close()
        registry = self._registry()
        registry.champion()
        registry.register(self.packages / "second")
        registry.promote("second")

    def add_another(self) -> None:
        """An upload after a backup."""
        database = Database(self._environment[CATALOGUE_VARIABLE])
        Adder(database).add(new_upload(99))
        database.close()

    def roll_back(self) -> None:
        """Another model after a backup; in a process of its own, as in a server."""
        registry_process.rollback(self._registry())

    def answers(self) -> dict[str, Any]:
        """Everything that a server would say of uploads, images and keys."""
        database = Database(self._environment[CATALOGUE_VARIABLE])
        store = ImageStore(self._environment[IMAGES_VARIABLE])
        try:
            return {
                "uploads": Uploads(database).page(limit=100).items,
                "images": {key: store.get(key) for key in sorted(store.stored())},
                "owner": store.owner() == catalogue_id(database),
                "keys": Keys(database).all(),
                "log": verify_log(database),
            }
        finally:
            database.close()

    def versions(self) -> tuple[list[RegisteredVersion], Path]:
        """Everything that a server would say of models, and where the champion's files are."""
        registry = self._registry()
        folder = registry_process.resolve("champion", registry)
        assert ModelPackage.load(folder)  # verifies each file's hash
        return registry_process.versions(registry), folder

    def _registry(self) -> Registry:
        return Registry(
            self._environment[REGISTRY_VARIABLE],
            cache=self.packages / "cache",
            bundled=self.packages / "first",
        )


@pytest.fixture
def state(environment: dict[str, str], tmp_path: Path) -> _State:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("first", "second"):
        write_small_package(packages / name, name)
    environment["DERMSERVE_CHAMPION"] = str(packages / "first")
    state = _State(environment, packages)
    state.fill()
    return state


def test_a_restored_backup_answers_the_same(state: _State, shell: Shell, tmp_path: Path) -> None:
    before, versions = state.answers(), state.versions()
    assert len(before["uploads"]) == len(before["images"]) == 3
    assert before["owner"]
    assert [each.version for each in versions[0] if each.champion] == ["second"]
    said = shell(_block("the backup"))
    assert before["log"].head in said.replace("\n", "")
    (tmp_path / "var" / "backup").rename(tmp_path / "elsewhere")

    state.add_another()
    state.roll_back()
    assert state.versions() != versions
    for path in (tmp_path / "var" / "images").rglob("*.jpg"):
        path.write_bytes(b"damaged")
    (tmp_path / "elsewhere").rename(tmp_path / "var" / "backup")

    shell(_block("the restore"))
    assert state.answers() == before
    assert state.versions() == versions
    # And what was there is put aside, not lost.
    (aside,) = (tmp_path / "var").glob("aside-*")
    assert (aside / "catalogue.db").exists()


def test_a_backup_restores_after_a_total_loss(state: _State, shell: Shell, tmp_path: Path) -> None:
    before = state.answers()
    shell(_block("the backup"))
    for path in (tmp_path / "var").iterdir():
        if path.name != "backup":
            subprocess.run(["rm", "-r", path], check=True)
    assert "second" in shell(_block("the restore"))
    assert state.answers() == before
    # Restored, it is a catalogue for several processes again, and can be written.
    state.add_another()
    assert len(state.answers()["uploads"]) == 4


def test_a_backup_without_a_catalogue_makes_none(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="unable to open database file"):
        shell(_block("the backup"))
    assert not (tmp_path / "var" / "catalogue.db").exists()


@pytest.fixture
def postgres(environment: dict[str, str]) -> Iterator[str]:
    """A database of its own in a PostgreSQL of our own, as the environment's catalogue."""
    folder = binaries()
    if folder is None or not (folder / "pg_dump").exists():
        pytest.skip("PostgreSQL is not installed; on Debian, `apt install postgresql` does it")
    server = PostgresServer(folder)
    try:
        with new_schema(server) as url:
            plain = make_url(url).difference_update_query(["options"])
            address = plain.set(database="dermserve").render_as_string(hide_password=False)
            with psycopg.connect(plain.render_as_string(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE dermserve")
            environment[CATALOGUE_VARIABLE] = address
            environment["PATH"] = f"{folder}:{environment['PATH']}"
            yield address
    finally:
        server.remove()


def test_a_restored_dump_answers_the_same(
    postgres: str, state: _State, shell: Shell, tmp_path: Path
) -> None:
    before = state.answers()
    shell(_block("the dump"))
    state.add_another()
    assert len(state.answers()["uploads"]) == 4
    shell(_block("the restored dump"))
    assert state.answers() == before


def test_the_versions_are_listed(state: _State, shell: Shell) -> None:
    assert re.search(r"\*.*second", shell(_block("the versions")))


def _subcommands() -> set[str]:
    commands = {each.name or each.callback.__name__ for each in app.registered_commands}  # type: ignore[union-attr]
    return commands | {str(group.name) for group in app.registered_groups}


def test_compose_commands_name_what_exists() -> None:
    document = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    lines = [line for line in _lines() if "docker compose" in line]
    assert len(lines) >= 10
    known = {"build", "run", "up", "ps", "exec"}
    for line in lines:
        words = shlex.split(line.partition(">")[0])
        words = words[words.index("compose") + 1 :]
        for option, value in itertools.pairwise(words):
            if option == "--file":
                assert (PROJECT / value).exists(), value
            if option == "--profile":
                assert any(
                    value in each.get("profiles", []) for each in document["services"].values()
                )
            if option == "--scale":
                assert value.partition("=")[0] in document["services"]
        (command,) = [word for word in words if word in known]
        after = [word for word in words[words.index(command) + 1 :] if word[0] != "-"]
        if command in ("run", "exec"):
            assert after[0] in document["services"]
            if after[0] == "cli":
                assert after[1] in _subcommands()


def test_kubectl_commands_name_what_exists() -> None:
    folder = PROJECT / "cluster" / "kuberay"
    text = "\n".join(path.read_text() for path in sorted(folder.glob("*.yaml")))
    documents = [
        each
        for path in folder.glob("*.yaml")
        for each in yaml.safe_load_all(path.read_text())
        if "metadata" in each
    ]
    there = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in documents}
    made = set()
    for line in (each for each in _lines() if each.startswith("kubectl")):
        words = shlex.split(line.partition(">")[0])
        if "secret" in words:
            name = words[words.index("generic") + 1]
            (source,) = re.findall(r"--from-file (\w+)=", line)
            made.add((name, source))
        named = [word for word in words if word.startswith("deployment/")]
        assert set(named) <= there
        if "--kustomize" in words:
            assert (PROJECT / words[words.index("--kustomize") + 1]).is_dir()
        if "--selector" in words:
            label, _, value = words[words.index("--selector") + 1].partition("=")
            assert f"{label}: {value}\n" in text
        if "rayservice" in words:
            assert f"rayservice/{words[-1]}" in there
    asked = set(re.findall(r"secretKeyRef:\s+name: (\S+)\s+key: (\S+)", text))
    asked |= set(re.findall(r"credentials:\s+name: (\S+)\s+key: (\S+)", text))
    asked |= {(name, "auth_token") for name in re.findall(r"secretName: (\S+)", text)}
    assert made == asked


def test_installed_files_exist() -> None:
    extras = (PROJECT / "pyproject.toml").read_text().partition("optional-dependencies")[2]
    installed = [line for line in _lines() if re.match(r"sudo install|sudo /opt\S+/pip", line)]
    assert len(installed) >= 5
    for line in installed:
        words = shlex.split(line)
        for word in words[2:-1]:
            if re.search(r"\.(yaml|service|txt)$", word) and not word.startswith("/"):
                assert (PROJECT / word).exists(), word
        for extra in re.findall(r"\.\[([\w,]+)\]", line):
            assert all(f"\n{name} = [" in extras for name in extra.split(","))


def test_every_file_it_names_exists() -> None:
    named = re.findall(r"\]\((\S+?)\)|`([\w.-]+/[\w./-]*)`|`([\w-]+\.(?:yaml|md))`", DOCUMENT)
    paths = {"".join(each) for each in named}
    ours = {path for path in paths if not path.startswith(("/", "http", "var/"))}
    folders = (PROJECT, PROJECT / "cluster" / "kuberay")
    assert "cluster/kuberay/" in ours
    assert [path for path in ours if not any((each / path).exists() for each in folders)] == []


def _numbers(pattern: str, text: str) -> tuple[float, ...]:
    (found,) = re.findall(pattern, text)
    values = found if isinstance(found, tuple) else (found,)
    return tuple(float(value.replace(",", "")) for value in values)


def test_the_sizing_follows_from_the_benchmarks() -> None:
    ms = sum(_numbers(r"\| all three \| [^|]+ \| ([\d.]+), ([\d.]+) \|", BENCHMARKS)) / 2
    first = sum(_numbers(r"Of ([\d,]+) MiB\s.+?the whole grows by (\d+) MiB", _joined(BENCHMARKS)))
    per_chain = sum(
        _numbers(r"takes (\d+) MiB \(ingress\), (\d+)\s\(preprocessor\) or (\d+)", BENCHMARKS)
    )
    assert f"{ms:.2f} ms of one core" in _joined(DOCUMENT)
    assert f"{first:,.0f} MiB for the first" in _joined(DOCUMENT)
    assert f"{per_chain:.0f} MiB for each" in _joined(DOCUMENT)
    (percent,) = _numbers(r"kept (\d+) % busy", _joined(DOCUMENT))
    section = DOCUMENT.partition("<!-- begin: computed")[2].partition("<!-- end")[0]
    rows = re.findall(r"^\| ([\d,]+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", section, re.MULTILINE)
    assert len(rows) >= 5
    for rate, cores, chains, gib in rows:
        busy = float(rate.replace(",", "")) * ms / 1000 / (percent / 100)
        pairs = max(1, math.ceil(busy / 2))
        assert (int(cores), int(chains)) == (2 * pairs, pairs)
        assert float(gib) == round((first + (pairs - 1) * per_chain) / 1024, 1)


def test_the_figures_of_the_gpu_are_those_that_were_measured() -> None:
    (rate, p99) = _numbers(r"\| 256 \| ([\d,]+) \| \d+ \| (\d+) \| 0 \|", BENCHMARKS)
    assert f"{rate:,.0f} requests/s at 256 connections with a p99 of {p99:.0f} ms" in _joined(
        DOCUMENT
    )
    used = _numbers(
        r"used ([\d.]+) of the 16 cores.+?([\d.]+) of one.+?ingresses ([\d.]+)\.",
        (_joined(BENCHMARKS)),
    )
    assert round(used[0] + used[1] + 2 * used[2]) == 12
    assert "about 12 of the 16 cores" in _joined(DOCUMENT)


def test_a_version_takes_what_it_says() -> None:
    package = PROJECT / "models" / "champion"
    size = sum(path.stat().st_size for path in package.iterdir())
    assert round(size / 1e7) * 10 == 30
    assert "30 MB for each version" in _joined(DOCUMENT)


def _joined(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_image_keys_of_the_examples_are_those_of_the_store() -> None:
    new = new_upload(1)
    assert image_key(new.content_hash, ".jpg") == new.image_key
