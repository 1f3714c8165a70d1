"""What is asked of Ray's dashboard, with and without its token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from cluster.doctor.serve_state import Node, ServeState, ask_dashboard, ray_token
from cluster.doctor.unseen import Unseen
from tests.conftest import free_port
from tests.http_server import http_server

_ANSWERS: dict[str, Any] = {
    "/nodes?view=summary": {
        "data": {"summary": [{"raylet": {"nodeId": "a", "metricsExportPort": 44000}}]}
    },
    "/api/version": {"ray_version": "2.60.0"},
    "/api/serve/applications/": {"applications": {}},
    "/api/v0/nodes": {
        "data": {
            "result": {
                "result": [
                    {
                        "node_id": "a",
                        "node_ip": "10.0.0.1",
                        "state": "ALIVE",
                        "resources_total": {"CPU": 4.0},
                    },
                    {"node_id": "b", "node_ip": "10.0.0.2", "state": "DEAD", "resources_total": {}},
                    {
                        "node_id": "c",
                        "node_ip": "10.0.0.3",
                        "state": "ALIVE",
                        "resources_total": {"GPU": 1.0},
                    },
                ]
            }
        }
    },
}


@contextmanager
def _dashboard(token: str | None, answers: dict[str, Any] = _ANSWERS) -> Iterator[str]:
    """Answers like Ray's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refused = token is not None and self.headers["authorization"] != f"Bearer {token}"
            status = 401 if refused and self.path != "/api/version" else 200
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path] if status == 200 else "").encode())

    with http_server(Handler) as url:
        yield url


def test_one_that_asks_for_a_token() -> None:
    with _dashboard("abc") as url:
        state = ask_dashboard(url, {"RAY_AUTH_TOKEN": "abc"})
        refused = ask_dashboard(url, {"RAY_AUTH_TOKEN": "another"})
    assert isinstance(state, ServeState)
    assert state.asks_for_token
    assert state.ray_version == "2.60.0"
    assert state.nodes == (Node("10.0.0.1", 4.0, 0.0, 44000), Node("10.0.0.3", 0.0, 1.0, None))
    assert isinstance(refused, Unseen)
    assert "RAY_AUTH_TOKEN_PATH" in str(refused)


def test_one_that_asks_for_nothing() -> None:
    with _dashboard(None) as url:
        state = ask_dashboard(url, {"RAY_AUTH_TOKEN": "abc"})
    assert isinstance(state, ServeState)
    assert not state.asks_for_token


def test_one_that_is_away_or_another_program() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert url in str(ask_dashboard(url, {}))
    with _dashboard(None, {"/api/version": {"version": 3}}) as other:
        assert isinstance(ask_dashboard(other, {}), Unseen)


def test_where_the_token_is(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert ray_token({"RAY_AUTH_TOKEN_PATH": str(path)}) is None
    path.write_text("abc\n")
    assert ray_token({"RAY_AUTH_TOKEN_PATH": str(path)}) == "abc"
    assert ray_token({"RAY_AUTH_TOKEN_PATH": str(path), "RAY_AUTH_TOKEN": "def"}) == "def"
