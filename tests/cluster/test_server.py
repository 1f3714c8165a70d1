"""The life of a server: refusals before it starts, and the command line around it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from benchmarks.faults.traffic import Traffic
from cluster.environment import haproxy_problem, ray_environment
from cluster.server import LocalServer, StartFailed
from models.errors import InvalidConfiguration
from tests.conftest import PROJECT, free_port

CONFIG = PROJECT / "serve_config.yaml"


def test_a_taken_port_is_named(server: LocalServer) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    with pytest.raises(StartFailed, match=f"Port {port} for the server is taken"):
        LocalServer(CONFIG, port=port, dashboard_port=free_port()).__enter__()


def test_grpc_has_the_port_of_the_configuration_unless_another_server_has_it(
    tmp_path: Path,
) -> None:
    port, path = free_port(), tmp_path / "serve.yaml"
    document = yaml.safe_load(CONFIG.read_text())
    document["grpc_options"]["port"] = port
    path.write_text(yaml.safe_dump(document))
    assert LocalServer(path).grpc_address == f"127.0.0.1:{port}"
    assert LocalServer(path, grpc_port=1234).grpc_address == "127.0.0.1:1234"
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        server = LocalServer(path)
        assert server.grpc_address not in (None, f"127.0.0.1:{port}")
        assert server.grpc_address == f"127.0.0.1:{server.config['grpc_options']['port']}"
        with pytest.raises(StartFailed, match=f"Port {port} for gRPC is taken"):
            LocalServer(
                path, port=free_port(), grpc_port=port, dashboard_port=free_port()
            ).__enter__()
    del document["grpc_options"]
    path.write_text(yaml.safe_dump(document))
    assert LocalServer(path).grpc_address is None


@pytest.mark.parametrize("text", ["[1, 2", "just text", "http_options: {}"])
def test_a_file_that_is_no_serve_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    with pytest.raises(InvalidConfiguration, match=re.escape(str(path))):
        LocalServer(path)


def test_a_missing_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        LocalServer(tmp_path / "none.yaml")


def test_the_environment_lets_the_operator_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    assert ray_environment()["RAY_SERVE_ENABLE_HA_PROXY"] == "0"


def test_a_missing_haproxy_falls_back_to_the_python_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/nowhere/haproxy")
    assert haproxy_problem() is not None
    assert ray_environment()["RAY_SERVE_ENABLE_HA_PROXY"] == "0"


def test_a_configuration_that_cannot_be_deployed_says_why(
    server: LocalServer, tmp_path: Path
) -> None:
    broken = yaml.safe_load(CONFIG.read_text())
    broken["applications"][0]["args"]["max_batch_size"] = -1
    good, server.config = server.config, server.config | {"applications": broken["applications"]}
    try:
        server.deploy()
        with pytest.raises(StartFailed, match="max_batch_size"):
            server.wait_until_ready(timeout_s=60)
    finally:
        server.config = good
        server.deploy()
        server.wait_until_ready(timeout_s=60)


def test_up_serves_until_down_ends_it_and_answers_what_it_has_accepted(
    serving_tiny: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "cluster", "up", "--config", str(CONFIG)),
            *("--port", str(port), "--dashboard-port", str(free_port())),
        ],
        env={
            **os.environ,
            **serving_tiny,
            # Beside the server of the other tests, whose HAProxy has the default ports.
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "TMPDIR": str(tmp_path),  # where it leaves word of itself
            "RAY_TMPDIR": "/tmp",  # where the names of Ray's sockets are not too long
        },
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        greeting = ""
        while "Stop with Ctrl-C" not in greeting:
            line = process.stdout.readline()
            assert line, f"it ended early: {greeting}"
            greeting += line
        curl = re.search(r"curl -F file=@(\S+) (\S+)", greeting)
        assert curl is not None
        image = (tmp_path / curl[1]).read_bytes()
        assert httpx.post(curl[2], files={"file": image}, timeout=30).status_code == 200
        with Traffic(f"http://127.0.0.1:{port}", warm_s=1) as traffic:
            ended = subprocess.run(
                [sys.executable, "-m", "cluster", "down"],
                env={**os.environ, "TMPDIR": str(tmp_path)},
                capture_output=True,
                text=True,
                timeout=120,
            )
            rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"Stopped {curl[2].removesuffix('/predict')} (process {process.pid}" in ended.stdout
    assert process.returncode == 0, rest
    assert rest.endswith("Stopped.\n")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")
    report = traffic.report()
    assert report.plain.lost == report.uploads.lost == 0, report
    assert report.plain.failed > 0, "it was not loaded to the end"
