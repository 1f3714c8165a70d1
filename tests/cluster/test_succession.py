"""Succession: a HAProxy whose manager was lost is followed without a request lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from cluster.admin_socket import AdminSocket
from cluster.environment import haproxy_problem
from tests.cluster.test_edge import Replica, rays_configuration
from tests.conftest import free_port
from tests.http_server import serving

pytestmark = pytest.mark.skipif(
    haproxy_problem() is not None, reason=f"HAProxy does not run: {haproxy_problem()}"
)


class Node:
    """A folder in which one HAProxy after the other is started as Ray's manager does."""

    def __init__(self, folder: Path, replica_port: int) -> None:
        self._folder = folder
        self._replica_port = replica_port
        self._ports = [free_port() for _ in range(3)]
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *, application: bool) -> subprocess.Popen[bytes]:
        """Start one, and wait until it is the one that answers."""
        port, stats, metrics = self._ports
        path = rays_configuration(
            self._folder, port, self._replica_port, stats, metrics, application=application
        )
        process = subprocess.Popen([sys.executable, "-m", "cluster.edge", "-db", "-f", str(path)])
        self.started.append(process)
        deadline = time.monotonic() + 30
        while self.pid() != process.pid:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    def pid(self) -> int | None:
        try:
            with AdminSocket(self._folder / "admin.sock") as admin:
                return admin.pid()
        except OSError:
            return None


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    Replica.let_go.clear()
    replica = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    with serving(replica):
        node = Node(tmp_path, replica.server_port)
        yield node
        Replica.let_go.set()
        for process in node.started:
            process.kill()
            process.wait()


def test_one_that_still_listens_hands_over_and_ends(node: Node) -> None:
    first = node.start(application=True)
    answers: list[int] = []

    def post() -> None:
        answers.append(httpx.post(f"{node.url}/predict", content=b"x", timeout=30).status_code)

    under_way = threading.Thread(target=post)
    under_way.start()
    assert Replica.arrived.acquire(timeout=30)
    # The new manager has heard of no application yet.
    node.start(application=False)
    assert httpx.get(f"{node.url}/health", timeout=30).status_code == 200
    assert first.poll() is None
    Replica.let_go.set()
    under_way.join(30)
    assert answers == [200]
    assert first.wait(30) == 0


def test_one_that_was_killed_is_followed_with_its_applications(node: Node) -> None:
    first = node.start(application=True)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    node.start(application=False)
    assert httpx.get(f"{node.url}/health", timeout=30).status_code == 200


def test_the_first_of_all_has_what_ray_says(node: Node) -> None:
    node.start(application=False)
    assert httpx.get(f"{node.url}/health", timeout=30).status_code == 503
