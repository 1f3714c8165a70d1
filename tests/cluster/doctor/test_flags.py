"""Flags that differ between the processes of one server."""

from __future__ import annotations

from cluster.doctor.flags import FlagFacts, ProcessFlags, check, flags_of
from cluster.doctor.processes import ServerProcess
from tests.cluster.doctor.found import one, verdicts

FLAGS = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_AUTH_MODE": "token",
    "DERMSERVE_CATALOGUE": "sqlite:////srv/catalogue.db",
}
RECOMMENDED = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_AUTH_MODE": "token"}
OVERRIDES = {"RAY_SERVE_LOG_TO_STDERR": "0"}


def _facts(
    *,
    controller: dict[str, str] = FLAGS,
    replica: dict[str, str] | None = None,
    recommended: dict[str, str] = RECOMMENDED,
    elsewhere: tuple[str, ...] = (),
) -> FlagFacts:
    processes = (
        ProcessFlags(1, "controller", controller, {}),
        ProcessFlags(2, "classifier", {**FLAGS, **OVERRIDES, **(replica or {})}, OVERRIDES),
    )
    return FlagFacts(processes, recommended, elsewhere)


def test_the_same_but_for_what_a_deployment_sets() -> None:
    assert verdicts(check(_facts())) == ["ok"]


def test_one_that_differs() -> None:
    found = one(check(_facts(replica={"RAY_SERVE_ENABLE_HA_PROXY": "0"}, recommended={})), "wrong")
    assert found.message == "RAY_SERVE_ENABLE_HA_PROXY differs: 1 in controller; 0 in classifier."


def test_one_that_some_lack() -> None:
    controller = {k: v for k, v in FLAGS.items() if k != "DERMSERVE_CATALOGUE"}
    assert "(not set) in controller" in one(check(_facts(controller=controller)), "wrong").message


def test_a_replica_without_what_its_deployment_sets() -> None:
    found = one(check(_facts(replica={"RAY_SERVE_LOG_TO_STDERR": "1"})), "wrong")
    assert "RAY_SERVE_LOG_TO_STDERR=1" in found.message


def test_other_than_the_file_says() -> None:
    found = one(check(_facts(recommended={**RECOMMENDED, "RAY_worker_niceness": "0"})), "warning")
    assert "RAY_worker_niceness=(not set)" in found.message


def test_haproxy_that_is_off_is_the_business_of_another_subject() -> None:
    facts = _facts(recommended={**RECOMMENDED, "RAY_SERVE_ENABLE_HA_PROXY": "0"})
    assert verdicts(check(facts)) == ["ok"]


def test_a_shell_that_means_another_catalogue() -> None:
    found = check(_facts(elsewhere=("DERMSERVE_CATALOGUE",)))
    assert "dermserve keys" in one(found, "warning").message
    assert verdicts(found) == ["ok", "warning"]


def test_a_password_is_not_shown() -> None:
    secret = {"DERMSERVE_CATALOGUE": "postgresql://me:secret@db/derm"}
    found = one(check(_facts(replica=secret)), "wrong")
    assert "secret" not in found.message
    assert "postgresql://***@db/derm" in found.message


def test_only_what_serves_counts() -> None:
    environment = {"RAY_AUTH_MODE": "token", "RAY_JOB_ID": "02", "RAY_AUTH_TOKEN": "secret"}
    idle = ServerProcess(1, "idle workers", "ray::IDLE", environment)
    controller = ServerProcess(2, "controller", "ray::ServeController", environment)
    replica = ServerProcess(3, "archive", "ray::ServeReplica:dermserve:archive", environment)
    found = flags_of([idle, controller, replica], {"archive": OVERRIDES, "controller": OVERRIDES})
    assert [each.role for each in found] == ["controller", "archive"]
    assert [dict(each.flags) for each in found] == [{"RAY_AUTH_MODE": "token"}] * 2
    assert [dict(each.overrides) for each in found] == [{}, OVERRIDES]
