"""`dermserve status`: everything a server says of itself, or why it does not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

import cluster.status_command as module
from cluster.server import LocalServer
from cluster.server_status import ServerStatus
from data.catalogue.api_key import Role
from data.catalogue.keys import Keys
from dermserve_client import Client, Health
from models.errors import ModelUnavailable
from serve_app.access.key_ring import KeyRing
from tests.cluster.command_line import Shell
from tests.conftest import free_port
from tests.dashboard.answers import metrics
from tests.serve_app.chain import InProcessChain
from tests.waiting import PATIENCE_S


def _health(**changes: Any) -> Health:
    known = {"status": "ok", "uptime_s": 7300.0, "data_path": {}, "model": {"version": "2"}}
    return Health.model_validate(known | changes)


@pytest.mark.usefixtures("api_url")
def test_a_ready_server(shell: Shell) -> None:
    ended = shell("status")
    assert ended.code == 0
    assert "ready, up for 1 s" in ended.out
    assert "version 2 (champion 2, 1 versions registered)" in ended.out
    assert "0 new labelled images of 10" in ended.out


@pytest.mark.usefixtures("api_url")
def test_for_programs(shell: Shell) -> None:
    ended = shell("status", "--json")
    document = json.loads(ended.out)
    assert document["ready"] is True
    assert document["champion"] == "2"
    assert document["version"]
    # Whether somebody counts depends on whether Ray runs in this process.
    assert ("traffic" in document["problems"]) == (document["requests"] is None)


def test_one_that_is_not_ready(shell: Shell, api_url: str, chain: InProcessChain) -> None:
    chain.error = ModelUnavailable("The model is \x1b[31m[red]loading.")
    ended = shell("status")
    assert ended.code == 1
    assert "not_ready" in ended.out
    assert "The model is \\x1b[31m[red]loading." in ended.out


def test_a_part_that_the_key_may_not_see(
    shell: Shell, api_url: str, keys: Keys, ring: KeyRing
) -> None:
    keys.create("ward", [Role.PREDICT], "test")
    ring.refresh()
    ended = shell("status")
    assert ended.code == 0
    assert "ready" in ended.out
    assert ended.out.count("API key") >= 2


def test_nobody_answers(shell: Shell) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = shell("status", "--url", url)
    assert (ended.code, ended.out) == (3, "")
    assert "dermserve up" in ended.err


def test_what_happened_between_two_readings() -> None:
    def status(seconds: float, *counts: int) -> ServerStatus:
        reading = metrics(seconds, *counts)
        return ServerStatus("http://server", _health(), None, reading, None, None)

    now = status(10, 60, 120, 120).since(status(0, 10, 20, 20))
    assert now.document()["recent"] == {
        "seconds": 10,
        "requests": 100,
        "requests_per_s": 10,
        "latency_s": {
            "p50": pytest.approx(0.1),
            "p95": pytest.approx(0.91),
            "p99": pytest.approx(0.982),
        },
    }
    assert status(1, 1, 1, 1).since(None).recent is None
    assert status(1, 1, 1, 1).since(status(1, 1, 1, 1)).recent is None


def test_it_watches_until_it_is_interrupted(
    shell: Shell, api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def pause(seconds: float) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", pause)
    ended = shell("status", "--watch", "--json")
    assert ended.code == 0
    assert [json.loads(line)["ready"] for line in ended.out.splitlines()] == [True, True]


def test_a_running_server(shell: Shell, server: LocalServer, jpeg: bytes) -> None:
    with Client(server.url) as client:
        client.predict(jpeg)
    ended = shell("status", "--url", server.url, "--interval", 2)
    deadline = time.monotonic() + PATIENCE_S
    while "p99" not in ended.out:  # until the replicas have told their node
        assert ended.code == 0
        assert time.monotonic() < deadline, ended.out
        ended = shell("status", "--url", server.url, "--interval", 2)
    assert "ready" in ended.out
    assert "requests/s" in ended.out
    assert "p99" in ended.out
    for stage in ("ingress", "preprocessor", "classifier", "archive", "trainer"):
        (line,) = [line for line in ended.out.splitlines() if f" {stage} " in line]
        assert "healthy" in line
        assert "1 running" in line
    document = json.loads(shell("status", "--url", server.url, "--json").out)
    assert document["replicas"]["classifier"]["states"] == {"RUNNING": 1}
    assert document["recent"]["seconds"] >= 2
    assert document["problems"] == {}
