"""The data path, told from who listens and who is connected to whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.doctor.data_path import DataPathFacts, check, hops
from cluster.doctor.processes import Listener, ServerProcess
from tests.cluster.doctor.found import one, verdicts

LIVE: dict[str, bool | None] = {"ingress -> preprocessor": True, "preprocessor -> classifier": True}
HAPROXY = DataPathFacts(
    port=8000, owners=("haproxy",), haproxy_wanted=True, edge=True, claimed="haproxy", hops=LIVE
)
PYTHON = replace(HAPROXY, owners=("proxy",), haproxy_wanted=False, claimed="python")


def _replica(role: str, *ports: int, peers: tuple[int, ...] = ()) -> ServerProcess:
    listeners = (Listener("127.0.0.1", 1000), *(Listener("::", port) for port in ports))
    title = f"ray::ServeReplica:dermserve:{role}"
    return ServerProcess(len(role), role, title, {}, listeners, peers)


def test_haproxy_and_grpc() -> None:
    assert verdicts(check(HAPROXY)) == ["ok", "ok"]


def test_the_python_proxy() -> None:
    found = one(check(PYTHON), "warning")
    assert "Python proxy" in found.message
    assert "RAY_SERVE_ENABLE_HA_PROXY=1" in str(found.mend)


@pytest.mark.parametrize(
    "facts",
    [
        replace(PYTHON, claimed="haproxy"),
        replace(PYTHON, haproxy_wanted=True),
        replace(HAPROXY, owners=()),
    ],
)
def test_haproxy_that_does_not_listen(facts: DataPathFacts) -> None:
    assert "configured for HAProxy" in one(check(facts), "wrong").message


def test_haproxy_without_the_edge() -> None:
    found = one(check(replace(HAPROXY, edge=False)), "warning")
    assert "RAY_SERVE_HAPROXY_BINARY_PATH" in str(found.mend)


def test_another_program_in_front() -> None:
    facts = replace(HAPROXY, owners=(), haproxy_wanted=False, claimed="python")
    assert one(check(facts), "not checked")


def test_calls_that_are_not_seen() -> None:
    facts = replace(HAPROXY, hops={**LIVE, "preprocessor -> classifier": False})
    assert "by reference" in one(check(facts), "warning").message


def test_a_stage_on_another_machine() -> None:
    facts = replace(HAPROXY, hops={**LIVE, "preprocessor -> classifier": None})
    assert "preprocessor -> classifier" in one(check(facts), "not checked").message


def test_hops_from_sockets() -> None:
    classifier = _replica("classifier", 41000)
    preprocessor = _replica("preprocessor", 42000, peers=(41000,))
    by_reference = _replica("ingress", 43000, peers=(1000,))
    assert hops([by_reference, preprocessor, classifier]) == {
        "ingress -> preprocessor": False,
        "preprocessor -> classifier": True,
    }
    assert hops([preprocessor]) == {
        "ingress -> preprocessor": None,
        "preprocessor -> classifier": None,
    }


def test_colocated() -> None:
    facts = replace(HAPROXY, hops=hops([_replica("classifier", 41000)]))
    assert "one process" in check(facts)[-1].message
