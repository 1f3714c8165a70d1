"""`dermserve node`: what keeps a machine from joining is one sentence, and one that was given up
joins again. `test_hosts.py` has real hosts join a real head."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cluster import node
from cluster.addresses import HEAD_PORT, NODE_IP_VARIABLE
from cluster.cli import app
from cluster.environment import SEVERAL_MACHINES, ray_environment
from cluster.node import node_environment
from cluster.reachable import Unreachable, check_reachable
from cluster.server import LocalServer, StartFailed
from models.errors import InvalidConfiguration
from tests.cluster.test_places import SHARED
from tests.conftest import PROJECT, free_port

CONFIG = PROJECT / "configs" / "cluster.yaml"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has all it needs."""
    for name, value in SHARED.items():
        monkeypatch.setenv(name, value)
    for name in (*SEVERAL_MACHINES, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("f" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))


@pytest.fixture
def head() -> Iterator[str]:
    """The address of something that takes connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_the_same_flags_as_the_head(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # A shell that has read ray.env for one machine.
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    environment = node_environment()
    head = LocalServer(CONFIG, node_ip="10.1.2.3").environment
    own = {"RAY_GCS_SERVER_PORT", "DERMSERVE_EDGE_REQUESTS"}
    differ = {
        name
        for name, value in head.items()
        if environment.get(name) != value and not name.endswith(("STATS_PORT", "METRICS_PORT"))
    }
    assert differ <= own
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert head["RAY_GCS_SERVER_PORT"] == str(HEAD_PORT)


def test_one_machine_stays_by_itself(shared: None) -> None:
    environment = LocalServer(CONFIG).environment
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_GCS_SERVER_PORT" not in environment


def test_nobody_joins_without_a_token(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(InvalidConfiguration, match="no token of Ray's in /nowhere/token"):
        node_environment()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    node_environment()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for start in (node_environment, lambda: LocalServer(CONFIG, node_ip="10.1.2.3")):
        with pytest.raises(InvalidConfiguration, match="RAY_AUTH_MODE=token"):
            start()
    assert ray_environment()["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize("address", ["", "10.0.0.1", ":6379", "host:port", "host:0", "host:70000"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"HOST:PORT, as in 10\.0\.0\.1:6379"):
        check_reachable(address)


def test_a_head_that_is_not_there() -> None:
    with pytest.raises(Unreachable, match="dermserve up --node-ip"):
        check_reachable(f"127.0.0.1:{free_port()}")


def test_an_address_of_another_machine_cannot_be_the_heads(shared: None) -> None:
    server = LocalServer(CONFIG, port=free_port(), dashboard_port=free_port(), node_ip="192.0.2.1")
    server.config["http_options"]["host"] = "127.0.0.1"
    with pytest.raises(StartFailed, match=r"192\.0\.2\.1:6379.*--node-ip"):
        server.__enter__()


def test_what_ends_at_once_is_not_tried_for_ever(head: str) -> None:
    """A token that is not the head's, say: Ray says so itself."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        status = node._stay(["sh", "-c", "exit 3"], dict(os.environ), head, "", Console())
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    assert status == 3


def test_a_machine_that_was_given_up_joins_again_until_it_is_stopped(
    head: str, tmp_path: Path
) -> None:
    script = (
        "import sys\n"
        "from rich.console import Console\n"
        "from cluster import node\n"
        "import os\n"
        "node.SETTLED_S = 0\n"
        # What listens there is no head.
        "node.announce = lambda address, label: False\n"
        "command = ['sh', '-c', 'echo joined >> joins; sleep 0.1']\n"
        "sys.exit(node._stay(command, dict(os.environ), sys.argv[1], '', Console()))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, head],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        joins = tmp_path / "joins"
        deadline = time.monotonic() + 60
        while not joins.exists() or len(joins.read_text().split()) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Joining again" in said


def test_the_address_may_come_from_the_environment() -> None:
    assert NODE_IP_VARIABLE == "DERMSERVE_NODE_IP"
    for command in ("up", "node"):
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert NODE_IP_VARIABLE in shown.output
