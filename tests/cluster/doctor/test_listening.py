"""Open sockets, and what they ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cluster.doctor.listening import ListeningFacts, OpenPort, check, open_ports
from cluster.doctor.processes import Listener, ServerProcess
from cluster.doctor.unseen import Unseen
from tests.cluster.doctor.found import one, verdicts

DEFAULT = ListeningFacts(
    ports=(
        OpenPort("::", 40000, "ingress", replica=True, token=True),
        OpenPort("::", 35485, "classifier", replica=True, token=True),
        OpenPort("::", 9500, "proxy", replica=False, token=True),
    ),
    users=(8000, 9000, 8443),
    keys=False,
    asks_for_token=True,
    several_nodes=False,
)


def _open(role: str, port: int, *, token: bool = True, **changes: Any) -> ListeningFacts:
    ports = (OpenPort("0.0.0.0", port, role, replica=False, token=token),)
    return replace(DEFAULT, ports=ports, **changes)


def test_a_default_server() -> None:
    assert verdicts(check(DEFAULT)) == ["ok"]
    assert verdicts(check(replace(DEFAULT, ports=()))) == ["ok"]


def test_stages_without_a_token() -> None:
    bare = tuple(replace(each, token=False) for each in DEFAULT.ports)
    found = one(check(replace(DEFAULT, ports=bare)), "wrong")
    assert "RAY_AUTH_MODE=token" in str(found.mend)
    assert "classifier 35485" in found.message


@pytest.mark.parametrize("port", DEFAULT.users)
def test_users_without_a_key(port: int) -> None:
    found = one(check(_open("haproxy", port)), "wrong")
    assert "dermserve keys create" in str(found.mend)
    assert verdicts(check(_open("haproxy", port, keys=True))) == ["ok"]


def test_the_python_proxys_http_without_a_key_and_its_grpc() -> None:
    assert "proxy 8000" in one(check(_open("proxy", 8000)), "wrong").message
    assert verdicts(check(_open("proxy", 9000))) == ["ok"]
    assert verdicts(check(_open("proxy", 9000, token=False))) == ["wrong"]


def test_keys_that_cannot_be_seen() -> None:
    assert one(check(_open("proxy", 8000, keys=Unseen("The catalogue is away."))), "not checked")


def test_haproxys_statistics() -> None:
    assert "8404" in one(check(_open("haproxy", 8404)), "wrong").message


@pytest.mark.parametrize(
    ("asks", "token", "verdict"),
    [
        (False, True, "wrong"),  # what it did counts more than what it was told
        (None, False, "wrong"),
        (True, True, "warning"),
        (None, True, "warning"),
    ],
)
def test_the_dashboard(asks: bool | None, token: bool, verdict: Any) -> None:
    found = one(check(_open("dashboard", 8265, token=token, asks_for_token=asks)), verdict)
    assert "--dashboard-host=127.0.0.1" in str(found.mend)


def test_metrics() -> None:
    assert "metrics" in one(check(_open("agents", 44217)), "wrong").message
    assert one(check(_open("agents", 44217, several_nodes=True)), "warning")
    assert one(check(_open("agents", 44217, several_nodes=True, token=False)), "wrong")


@pytest.mark.parametrize("role", ["gcs", "raylet", "controller", "idle workers"])
def test_ray_itself(role: str) -> None:
    assert verdicts(check(_open(role, 6379))) == ["ok"]
    found = one(check(_open(role, 6379, token=False)), "wrong")
    assert f"{role} 6379" in found.message


def test_the_client_server_without_a_token() -> None:
    assert one(check(_open("client server", 10001, token=False)), "wrong")


def test_what_nobody_knows() -> None:
    assert "python 1234" in one(check(_open("python", 1234, token=False)), "wrong").message


@pytest.mark.parametrize("token", [True, False])
def test_what_dermserve_up_asks_for_is_what_it_has_given_its_replicas(token: bool) -> None:
    driver = ServerProcess(1, "dermserve up", "dermserve up", {}, (Listener("::", 41000),))
    (port,) = open_ports((driver,), driver_token=token)
    assert port.token == token
    assert verdicts(check(replace(DEFAULT, ports=(port,)))) == ["ok" if token else "wrong"]


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.3", True),
    ],
)
def test_what_is_open(ip: str, public: bool) -> None:
    process = ServerProcess(
        1, "gcs", "gcs_server", {"RAY_AUTH_MODE": "token"}, (Listener(ip, 6379),)
    )
    expected = (OpenPort(ip, 6379, "gcs", replica=False, token=True),)
    assert open_ports((process,), driver_token=False) == (expected if public else ())
