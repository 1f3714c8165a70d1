"""Whether the server answers: health and applications as Serve tells of them."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.doctor.server import ServerFacts, check
from cluster.doctor.surroundings import Health
from cluster.doctor.unseen import Unseen
from tests.cluster.doctor.found import one, verdicts

URL = "http://127.0.0.1:8000"
READY = Health(200, {"status": "ok"})
AWAY = Unseen("No server answers.")


def _application(status: str = "RUNNING", deployment: str = "HEALTHY") -> dict[str, Any]:
    return {
        "status": status,
        "message": "out of luck",
        "deployments": {"ingress": {"status": deployment, "message": "no room"}},
    }


def test_a_server_that_runs() -> None:
    facts = ServerFacts(URL, True, READY, {"dermserve": _application()})
    assert verdicts(check(facts)) == ["ok", "ok"]


def test_no_server_is_wrong_only_if_it_was_named() -> None:
    (finding,) = check(ServerFacts(URL, False, AWAY, AWAY))
    assert finding.verdict == "not checked"
    assert URL in finding.message
    found = one(check(ServerFacts(URL, True, AWAY, AWAY)), "wrong")
    assert "dermserve up" in str(found.mend)


@pytest.mark.parametrize("status", ["not_ready", "unreachable"])
def test_one_that_cannot_predict(status: str) -> None:
    health = Health(200, {"status": status, "reason": "The model is loading."})
    found = one(check(ServerFacts(URL, False, health, {"dermserve": _application()})), "wrong")
    assert "The model is loading." in found.message


def test_another_program_on_the_port() -> None:
    facts = ServerFacts(URL, False, Health(404, {"detail": "Not Found"}), AWAY)
    assert "404" in one(check(facts), "wrong").message


def test_an_application_that_failed() -> None:
    facts = ServerFacts(URL, False, READY, {"trainer": _application("DEPLOY_FAILED")})
    assert "trainer is DEPLOY_FAILED. out of luck" in one(check(facts), "wrong").message


def test_no_application() -> None:
    assert "serve deploy" in str(one(check(ServerFacts(URL, False, READY, {})), "wrong").mend)


@pytest.mark.parametrize(("status", "verdict"), [("UNHEALTHY", "wrong"), ("UPSCALING", "warning")])
def test_a_deployment_that_is_not_healthy(status: str, verdict: Any) -> None:
    facts = ServerFacts(URL, False, READY, {"dermserve": _application(deployment=status)})
    assert f"ingress of dermserve is {status}. no room" in one(check(facts), verdict).message
