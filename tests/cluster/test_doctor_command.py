"""`dermserve doctor` on a machine without a server, and on a running one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cluster.cli import app
from cluster.doctor.examination import SUBJECTS
from cluster.doctor.listening import check as check_listening
from cluster.doctor.listening import gather as gather_listening
from cluster.doctor.processes import find_processes
from cluster.doctor.surroundings import look_around
from cluster.doctor.unseen import Unseen
from cluster.environment import haproxy_problem
from cluster.server import LocalServer
from data.catalogue.database import CATALOGUE_VARIABLE
from data.image_store import IMAGES_VARIABLE
from models.tracking_uri import REGISTRY_VARIABLE
from tests.conftest import PROJECT, free_port

CONFIG = str(PROJECT / "serve_config.yaml")


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that do not exist yet, whatever other tests have made."""
    monkeypatch.setenv(REGISTRY_VARIABLE, f"sqlite:///{tmp_path}/var/mlflow.db")
    monkeypatch.setenv(CATALOGUE_VARIABLE, f"sqlite:///{tmp_path}/var/catalogue.db")
    monkeypatch.setenv(IMAGES_VARIABLE, f"{tmp_path}/var/images")


def _doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--config", CONFIG, *arguments])


def _findings(*arguments: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(_doctor("--json", *arguments).stdout)["findings"]:
        found.setdefault(finding["subject"], []).append(finding)
    return found


def _config(tmp_path: Path, old: str, new: str) -> str:
    """The configuration that ships, changed, on a port where nothing listens."""
    text = (PROJECT / "serve_config.yaml").read_text()
    assert old in text
    path = tmp_path / "serve_config.yaml"
    path.write_text(text.replace("port: 8000", f"port: {free_port()}").replace(old, new))
    return str(path)


def test_before_a_server_runs(tmp_path: Path) -> None:
    result = _doctor("--config", _config(tmp_path, "30", "30"))
    assert result.exit_code == 0, result.output
    assert "dermserve up" in result.stdout
    assert "not checked" in result.stdout
    assert list(tmp_path.iterdir()) == [tmp_path / "serve_config.yaml"]  # it has made nothing


def test_every_subject_has_a_finding(tmp_path: Path) -> None:
    findings = _findings("--config", _config(tmp_path, "30", "30"))
    assert list(findings) == [subject.title for subject in SUBJECTS]


def test_a_server_that_was_named_has_to_answer() -> None:
    result = _doctor("--url", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert "wrong" in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "subject"),
    [
        ("request_timeout_s: 30", "request_timeout_s: 10", "Limits"),
        ("max_batch_size: 32", "max_batch_size: 0", "Limits"),
        ("min_replicas: 1", "min_replicas: 0", "Autoscaling"),
    ],
)
def test_a_configuration_that_contradicts_itself(
    tmp_path: Path, old: str, new: str, subject: str
) -> None:
    config = _config(tmp_path, old, new)
    assert _doctor("--config", config).exit_code == 1
    findings = _findings("--config", config)
    assert any(each["verdict"] == "wrong" for each in findings[subject])


def test_no_configuration(tmp_path: Path) -> None:
    result = _doctor("--config", str(tmp_path / "none.yaml"))
    assert result.exit_code == 1
    assert "none.yaml" in str(getattr(result.exception, "message", ""))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://", "http://a:99999"])
def test_no_address(url: str) -> None:
    result = _doctor("--url", url)
    assert result.exit_code == 1
    assert "is no address" in str(getattr(result.exception, "message", ""))


def _wrong(findings: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    return {
        subject: messages
        for subject, found in findings.items()
        if (messages := [each["message"] for each in found if each["verdict"] == "wrong"])
    }


@pytest.mark.skipif(haproxy_problem() is not None, reason="the data path is another one")
def test_a_healthy_server(server: LocalServer) -> None:
    arguments = ("--url", server.url, "--dashboard-url", server.dashboard_url)
    findings = _findings(*arguments)
    wrong = _wrong(findings)
    # The tests' server runs without Ray's token, and Ray opens ports to everybody.
    assert [set(wrong), len(wrong["Listening"])] == [{"Listening"}, 1], wrong
    assert "RAY_AUTH_MODE" in str(findings["Listening"])
    assert "ask for no token" in wrong["Listening"][0]
    oks = {
        subject: " ".join(each["message"] for each in found if each["verdict"] == "ok")
        for subject, found in findings.items()
    }
    assert "through HAProxy" in oks["Data path"]
    assert "ingress -> preprocessor, preprocessor -> classifier are connected" in oks["Data path"]
    assert "have the same flags" in oks["Flags"]
    assert "the running server" in oks["Limits"]
    assert "the running server" in oks["Autoscaling"]
    assert "node 127.0.0.1" in oks["Clock"]
    assert "Clocks agree" in oks["Clock"]
    assert "replicas run" in oks["CPUs"]
    assert "the server has" in oks["Memory"]
    assert "All processes" in oks["Open files"]
    assert "openvino runs" in oks["Engine"]
    assert "The server answers with" in oks["Model"]
    assert "champion" in oks["Registry"]
    assert "can be read and written" in oks["Catalogue"]
    unseen = {
        each["message"]
        for found in findings.values()
        for each in found
        if each["verdict"] == "not checked"
    }
    assert unseen == set()


def test_a_default_server_with_its_token(server: LocalServer) -> None:
    """What is open is what SECURITY.md names; with a token, nothing of it is wrong."""
    facts = gather_listening(look_around(Path(CONFIG), server.url, server.dashboard_url))
    assert facts.ports
    guarded = tuple(
        type(each)(each.ip, each.port, each.role, each.replica, True) for each in facts.ports
    )
    replaced = type(facts)(guarded, facts.users, facts.keys, True, facts.several_nodes)
    assert {each.verdict for each in check_listening(replaced)} == {"ok"}


def test_the_dashboard_is_found_by_itself(server: LocalServer) -> None:
    surroundings = look_around(Path(CONFIG), server.url, None)
    assert not isinstance(surroundings.serve, Unseen)
    assert surroundings.serve.url == server.dashboard_url


def test_the_processes_of_the_server(server: LocalServer) -> None:
    processes = find_processes(server.url)
    assert not isinstance(processes, Unseen)
    roles = {each.role for each in processes}
    assert roles >= {"controller", "ingress", "classifier", "raylet", "gcs", "dashboard"}
    assert isinstance(find_processes("http://192.0.2.1:8000"), Unseen)
    assert isinstance(find_processes(f"http://127.0.0.1:{free_port()}"), Unseen)
