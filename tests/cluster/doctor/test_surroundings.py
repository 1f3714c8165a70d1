"""What the doctor has in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cluster.doctor.serve_state import ServeState
from cluster.doctor.surroundings import Health, look_around
from cluster.doctor.unseen import Unseen
from models.errors import InvalidConfiguration
from tests.cluster.doctor.conftest import Place
from tests.conftest import PROJECT, free_port
from tests.http_server import http_server

CONFIG = PROJECT / "serve_config.yaml"


@contextmanager
def _answering(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    with http_server(Handler) as url:
        yield url


def test_no_server() -> None:
    seen = look_around(CONFIG, f"http://127.0.0.1:{free_port()}/", None)
    for each in (seen.health, seen.processes, seen.serve):
        assert isinstance(each, Unseen)
        assert str(each) == "No server answers."
    assert seen.named
    assert not seen.url.endswith("/")
    assert seen.environment["RAY_AUTH_MODE"]


@pytest.mark.parametrize("body", [b"<html>", b"[]"])
def test_another_program(body: bytes) -> None:
    with _answering(body) as url:
        seen = look_around(CONFIG, url, f"http://127.0.0.1:{free_port()}")
    assert isinstance(seen.health, Unseen)
    assert str(seen.health) == "What answers is no DermServe."
    assert isinstance(seen.serve, Unseen)


def test_a_server_whose_dashboard_is_elsewhere() -> None:
    with _answering(b'{"status": "ok"}') as url:
        seen = look_around(CONFIG, url, f"http://127.0.0.1:{free_port()}")
    assert isinstance(seen.health, Health)
    assert isinstance(seen.serve, Unseen)
    assert "--dashboard-url" in str(seen.serve)


def test_no_serve_configuration(tmp_path: Path) -> None:
    path = tmp_path / "serve_config.yaml"
    path.write_text("applications: none")
    with pytest.raises(InvalidConfiguration, match="lists no applications"):
        look_around(path, None, None)


def test_the_deployed_configuration_counts_before_that_of_the_file(place: Place) -> None:
    document = {
        "applications": [
            {"name": "dermserve", "args": {"max_batch_size": 16}, "deployments": [{"name": "a"}]}
        ]
    }
    seen = replace(place(), document=document)
    assert seen.declared.source == "serve_config.yaml"
    assert seen.declared.args == {"max_batch_size": 16}
    assert seen.declared.deployments == {"a": {"name": "a"}}
    details = {
        "http_options": {"port": 80},
        "applications": {
            "dermserve": {
                "deployed_app_config": {"args": {"max_batch_size": 64}},
                "deployments": {"b": {"deployment_config": {"max_ongoing_requests": 5}}},
            }
        },
    }
    running = replace(seen, serve=ServeState("", True, "2.60.0", details))
    assert running.declared.source == "the running server"
    assert running.declared.args == {"max_batch_size": 64}
    assert running.declared.deployments == {"b": {"max_ongoing_requests": 5}}
    assert running.declared.http_options == {"port": 80}
