"""The edge: what it makes of Ray's configuration, and what HAProxy then does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from cluster.edge import (
    ADMIN_HOST_VARIABLE,
    DEFAULT_MAX_REQUESTS,
    HEADER_TIMEOUT_S,
    MAX_REQUESTS_VARIABLE,
    UnknownConfiguration,
    amend,
)
from cluster.environment import EDGE, haproxy_problem
from serve_app.open_inference.schemas import ProtocolError
from serve_app.schemas import ErrorResponse
from serve_app.settings import ServeSettings
from tests.conftest import free_port
from tests.http_server import serving

pytestmark = pytest.mark.skipif(
    haproxy_problem() is not None, reason=f"HAProxy does not run: {haproxy_problem()}"
)


def rays_configuration(
    folder: Path,
    port: int,
    server_port: int,
    stats: int,
    metrics: int,
    server_timeout_s: int | None = None,
    *,
    application: bool = True,
) -> Path:
    """A configuration as Ray itself writes it, for one replica or before it knows of any."""
    path = folder / "haproxy.cfg"
    api = HAProxyApi(
        HAProxyConfig(
            socket_path=str(folder / "admin.sock"),
            server_state_base=str(folder),
            server_state_file=str(folder / "server-state"),
            metrics_socket_path=str(folder / "metrics.sock"),
            stats_port=stats,
            metrics_port=metrics,
            has_received_routes=True,
            timeout_server_s=server_timeout_s,
            has_received_servers=True,
            http_options=HTTPOptions(host="127.0.0.1", port=port),
        ),
        backend_configs={
            "http-dermserve": BackendConfig(
                name="http-dermserve",
                path_prefix="/",
                app_name="dermserve",
                servers=[ServerConfig(name="replica", host="127.0.0.1", port=server_port)],
            )
        }
        if application
        else {},
        config_file_path=str(path),
    )
    api._generate_config_file_internal()
    return path


class Replica(BaseHTTPRequestHandler):
    """Holds every POST until it is let go."""

    arrived = threading.Semaphore(0)
    let_go = threading.Event()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if "x-break-off" in self.headers:
            self.wfile.write(b"HTTP/1.1 2")  # and dies
            self.close_connection = True
            return
        self.arrived.release()
        self.let_go.wait(30)
        self._answer()

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_request(self, *args: object) -> None:
        pass


@contextmanager
def haproxy(
    folder: Path,
    max_requests: int,
    server_timeout_s: int | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[tuple[httpx.Client, int, int]]:
    """The edge in front of one replica; a client, and the ports of statistics and metrics."""
    Replica.let_go.clear()
    replica = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    with serving(replica):
        port, stats, metrics = free_port(), free_port(), free_port()
        path = rays_configuration(
            folder, port, replica.server_port, stats, metrics, server_timeout_s
        )
        variables = {**os.environ, MAX_REQUESTS_VARIABLE: str(max_requests), **(environment or {})}
        variables.pop(ADMIN_HOST_VARIABLE, None)
        process = subprocess.Popen(
            [sys.executable, "-m", "cluster.edge", "-db", "-f", str(path)],
            env=variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            transport = httpx.HTTPTransport(retries=8)  # until it listens
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=30
            ) as client:
                assert client.get("/health/live").status_code == 200
                yield client, stats, metrics
        finally:
            Replica.let_go.set()
            process.terminate()
            process.wait(10)


def test_the_default_is_what_one_ingress_replica_holds() -> None:
    assert ServeSettings().max_waiting == DEFAULT_MAX_REQUESTS


def test_a_full_server_refuses_images_and_nothing_else(tmp_path: Path) -> None:
    image = b"x" * 300_000
    with haproxy(tmp_path, max_requests=2) as (client, _, _):
        url = str(client.base_url)
        answers: list[int] = []

        def post() -> None:
            answers.append(httpx.post(f"{url}/predict", content=image, timeout=30).status_code)

        taken = [threading.Thread(target=post) for _ in range(2)]
        for thread in taken:
            thread.start()
        for _ in taken:
            assert Replica.arrived.acquire(timeout=30)
        refused = client.post("/predict", content=image, headers={"x-request-id": 'a"b'})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        error = refused.json()["error"]
        assert error["code"] == "overloaded"
        assert error["request_id"] == 'a"b'
        assert "again" in error["message"]
        for path in ("/predict/batch", "/explain", "/upload/bulk"):
            assert client.post(path, content=image).status_code == 503
        refused = client.post("/v2/models/dermserve/infer", content=image)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-error-code"] == "overloaded"
        assert ProtocolError.model_validate_json(refused.content).error == error["message"]
        assert client.get("/predict").status_code == 200
        assert client.get("/health").status_code == 200
        Replica.let_go.set()
        for thread in taken:
            thread.join(30)
        assert answers == [200, 200]
        assert client.post("/predict", content=image).status_code == 200
        assert client.post("/retrain", content=b"").status_code == 200


@pytest.mark.parametrize("application", [True, False])
def test_a_replica_that_is_gone_or_not_there_yet_is_an_error_of_ours(
    tmp_path: Path, application: bool
) -> None:
    port = free_port()
    path = rays_configuration(
        tmp_path, port, free_port(), free_port(), free_port(), application=application
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster.edge", "-db", "-f", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            transport=httpx.HTTPTransport(retries=8),
            headers={"x-request-id": 'a"b'},
            timeout=30,
        ) as client:
            answer = client.get("/health/live")
            in_v2 = client.get("/v2/health/live")
    finally:
        process.terminate()
        process.wait(10)
    for each in (answer, in_v2):
        assert each.status_code == 503
        assert each.headers["retry-after"] == "1"
        assert each.headers["content-type"] == "application/json"
    error = ErrorResponse.model_validate_json(answer.content).error
    assert error.code == "stage_unavailable"
    assert error.request_id == 'a"b'
    assert "x-error-code" not in answer.headers
    assert ProtocolError.model_validate_json(in_v2.content).error == error.message
    assert in_v2.headers["x-error-code"] == "stage_unavailable"


def test_statistics_and_metrics_are_for_this_machine(tmp_path: Path) -> None:
    with haproxy(tmp_path, max_requests=2) as (_, stats, metrics):
        assert httpx.get(f"http://127.0.0.1:{stats}/stats").status_code == 200
        assert "haproxy" in httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
        # 127.0.0.2 stands for any other address of this machine.
        for port in (stats, metrics):
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.2", port)) != 0
        assert (tmp_path / "admin.sock").stat().st_mode & 0o077 == 0


def test_an_amended_configuration_stays_as_it_is(tmp_path: Path) -> None:
    path = rays_configuration(tmp_path, 1, 2, 3, 4)
    once = amend(path.read_text(), max_requests=8, admin_host="127.0.0.1")
    assert amend(once, max_requests=8, admin_host="127.0.0.1") == once


def test_a_configuration_of_another_form_is_refused(tmp_path: Path) -> None:
    text = rays_configuration(tmp_path, 1, 2, 3, 4).read_text().replace("listen stats", "listen x")
    with pytest.raises(UnknownConfiguration, match=r"constraints\.txt"):
        amend(text, max_requests=8, admin_host="127.0.0.1")


def test_what_ray_starts_is_installed() -> None:
    assert os.access(EDGE, os.X_OK)


def test_a_lost_replica_is_no_reason_to_repeat_an_upload(tmp_path: Path) -> None:
    with haproxy(tmp_path, max_requests=2) as (client, _, _):
        breaks_off = {"x-break-off": "1"}
        answer = client.post("/upload/bulk", content=b"", headers=breaks_off)
        in_v2 = client.post("/v2/models/dermserve/infer", content=b"", headers=breaks_off)
    for each in (answer, in_v2):
        assert each.status_code == 502
        assert "retry-after" not in each.headers
    error = ErrorResponse.model_validate_json(answer.content).error
    assert error.code == "stage_unavailable"
    assert "upload" in error.message
    assert ProtocolError.model_validate_json(in_v2.content).error == error.message
    assert in_v2.headers["x-error-code"] == "stage_unavailable"


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    with haproxy(tmp_path, max_requests=2) as (client, _, _):
        assert client.get("/health", headers={"x-long": "a" * 14_000}).status_code == 200
        answer = client.get("/health", headers={"x-long": "a" * 16_000})
    assert answer.status_code == 400


def test_headers_that_never_come_are_given_up(tmp_path: Path) -> None:
    with haproxy(tmp_path, max_requests=2) as (client, _, _):
        assert client.base_url.port is not None
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n")
            connection.settimeout(3 * HEADER_TIMEOUT_S)
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_never_comes_is_an_error_of_ours(tmp_path: Path) -> None:
    with haproxy(tmp_path, max_requests=2, server_timeout_s=1) as (client, _, _):
        answer = client.post("/predict", content=b"x")
        in_v2 = client.post("/v2/models/dermserve/infer", content=b"x")
    assert (answer.status_code, in_v2.status_code) == (504, 504)
    error = ErrorResponse.model_validate_json(answer.content).error
    assert error.code == in_v2.headers["x-error-code"] == "deadline_exceeded"
    assert ProtocolError.model_validate_json(in_v2.content).error == error.message


def test_it_says_in_a_sentence_why_it_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text("global\n")
    result = subprocess.run(
        [sys.executable, "-m", "cluster.edge", "-db", "-f", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Ray's HAProxy configuration has no ")
    assert path.read_text() == "global\n"
