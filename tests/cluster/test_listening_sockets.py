"""What a default server listens on: this machine alone, but for what SECURITY.md names."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from ray.serve._private.constants import (
    RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT,
    RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT,
    RAY_SERVE_FALLBACK_PROXY_GRPC_PORT,
)

from cluster.environment import haproxy_problem, ray_environment
from cluster.server import LocalServer
from tests.conftest import PROJECT

INGRESS_GRPC = range(
    RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT, RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT + 1
)


class Listener(NamedTuple):
    """A TCP socket that takes connections."""

    process: int
    title: str
    ip: str
    port: int


def listeners() -> list[Listener]:
    """Of this process and all that it has started."""
    process = psutil.Process()
    found = []
    for each in [process, *process.children(recursive=True)]:
        try:
            title = " ".join(each.cmdline()).strip()  # Ray pads it
            sockets = each.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        found += [
            Listener(each.pid, title, connection.laddr.ip, connection.laddr.port)
            for connection in sockets
            if connection.status == psutil.CONN_LISTEN
        ]
    return found


def is_public(listener: Listener) -> bool:
    address = ipaddress.ip_address(listener.ip)
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


def exception(listener: Listener) -> str | None:
    """What SECURITY.md calls a process with sockets that are open to others; None if it is none."""
    if listener.title.startswith("ray::ProxyActor"):
        return "proxy" if listener.port == RAY_SERVE_FALLBACK_PROXY_GRPC_PORT else None
    if not listener.title.startswith("ray::ServeReplica"):
        return None
    is_ingress = re.match(
        r"ray::ServeReplica:(dermserve:ingress|trainer:trainer)\b", listener.title
    )
    return "ingress replica" if is_ingress else "replica"


def unexplained(found: list[Listener]) -> list[Listener]:
    """Sockets open to others that are no exception, or of which a process has too many."""
    public = [listener for listener in found if is_public(listener)]
    counted = Counter(listener.process for listener in public)
    return [listener for listener in public if counted[listener.process] > _allowed(listener)]


def _allowed(listener: Listener) -> int:
    """How many a process may have; which one is which cannot be told from a port that is drawn."""
    # An ingress replica has one for calls between stages and one for gRPC from outside.
    return {None: 0, "proxy": 1, "replica": 1, "ingress replica": 2}[exception(listener)]


@pytest.mark.skipif(haproxy_problem() is not None, reason="the data path is another one")
def test_only_what_the_document_names_is_open_to_others(server: LocalServer) -> None:
    found = listeners()
    titles = {listener.title.split(":")[2] for listener in found if listener.title[:5] == "ray::"}
    assert {"ServeController", "ServeReplica", "ProxyActor", "DashboardAgent"} <= titles
    assert any("haproxy" in listener.title for listener in found)
    assert any("gcs_server" in listener.title for listener in found)
    assert any("raylet" in listener.title for listener in found)
    assert unexplained(found) == []


def test_the_exceptions_are_still_needed(server: LocalServer) -> None:
    """A line of SECURITY.md that nothing listens on any more has to go."""
    public = [listener for listener in listeners() if is_public(listener)]
    assert {exception(listener) for listener in public} >= {"replica", "ingress replica"}
    assert {listener.port for listener in public} & set(INGRESS_GRPC)


@pytest.fixture(params=["0.0.0.0", "::"])
def public_socket(request: pytest.FixtureRequest) -> Iterator[int]:
    """A socket of a process of ours that anybody reaches."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        opened = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {request.param}")
    with closing(opened):
        yield opened.getsockname()[1]


def test_a_new_one_is_found(public_socket: int) -> None:
    assert public_socket in {listener.port for listener in unexplained(listeners())}


def test_a_second_one_of_a_replica_is_found() -> None:
    title = "ray::ServeReplica:dermserve:classifier"
    one, other = Listener(1, title, "::", 35485), Listener(1, title, "::", 35486)
    assert unexplained([one]) == []
    assert unexplained([one, other]) == [one, other]
    assert unexplained([one, Listener(2, title, "::", 35486)]) == []
    ingress = [
        Listener(3, "ray::ServeReplica:dermserve:ingress", "::", port)
        for port in (INGRESS_GRPC[0], 35487, 35488)
    ]
    assert unexplained(ingress[:2]) == []
    assert unexplained(ingress) == ingress
    other_port = Listener(4, "ray::ProxyActor", "::", 35489)
    assert unexplained([other_port]) == [other_port]


def test_nothing_of_ray_answers_without_its_token(tmp_path: Path) -> None:
    """What Ray leaves open runs code for whoever may call it."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    result = subprocess.run(
        [sys.executable, "-m", "tests.cluster.token_probes"],
        cwd=PROJECT,
        env={
            **os.environ,
            **ray_environment(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_SERVE_ENABLE_HA_PROXY": "0",
        },
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    answers = json.loads(result.stdout.splitlines()[-1])
    refusals = {"UNAUTHENTICATED", "HTTP 401", "HTTP 403"}
    # A port has no more than some of the services; HTTP is none of gRPC's.
    absent = {"UNIMPLEMENTED", "UNAVAILABLE"}
    guarded = {}
    for asked, (without, wrong, right) in answers.items():
        if {without, wrong, right} <= absent:
            continue
        assert {without, wrong} <= refusals, (asked, answers[asked])
        assert right not in refusals, (asked, answers[asked])
        guarded[asked.split("/", 1)[1]] = right
    for service in (
        "NodeInfoGcsService",
        "InternalKVGcsService",
        "NodeManagerService",
        "ObjectManagerService",
        "CoreWorkerService",
        "ASGIService",
        "ReporterService",
        "api/jobs",
        "runtime_env",
    ):
        assert any(service in name for name in guarded), (service, answers)
