"""Limits that contradict the largest batch."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import yaml

from cluster.doctor.limits import LimitFacts, check
from cluster.doctor.surroundings import Declared
from serve_app.settings import MIB
from tests.cluster.doctor.found import one, verdicts
from tests.conftest import PROJECT


def _facts(name: str = "serve_config.yaml") -> LimitFacts:
    document = yaml.safe_load((PROJECT / name).read_text())
    application = document["applications"][0]
    declared = Declared(
        source=name,
        args=application["args"],
        deployments=deepcopy({each["name"]: each for each in application["deployments"]}),
        http_options=document["http_options"],
        grpc_options=document["grpc_options"],
    )
    return LimitFacts(declared, {}, {}, None)


def _with(facts: LimitFacts, deployment: str, **options: Any) -> LimitFacts:
    deployments = deepcopy(facts.declared.deployments)
    deployments[deployment].update(options)
    return replace(facts, declared=replace(facts.declared, deployments=deployments))


@pytest.mark.parametrize(
    "name",
    ["serve_config.yaml", "configs/cluster.yaml", "configs/gpu.yaml", "configs/colocated.yaml"],
)
def test_what_ships_fits(name: str) -> None:
    assert verdicts(check(_facts(name))) == ["ok"]


def test_args_that_cannot_be() -> None:
    facts = _facts()
    args = {"max_batch_size": 0}
    found = one(check(replace(facts, declared=replace(facts.declared, args=args))), "wrong")
    assert "max_batch_size" in found.message


@pytest.mark.parametrize(("name", "value"), [("ingress", 100), ("preprocessor", 3)])
def test_a_queue_that_starves_the_batch(name: str, value: int) -> None:
    found = one(check(_with(_facts(), name, max_ongoing_requests=value)), "wrong")
    assert f"max_ongoing_requests of {name} is {value}" in found.message


def test_serves_own_default_starves_the_ingress() -> None:
    assert verdicts(check(_with(_facts(), "ingress", max_ongoing_requests=5))) == ["wrong"]


def test_another_queue_than_follows() -> None:
    facts = _with(_facts(), "classifier", max_ongoing_requests=100)
    assert "512 follows" in one(check(facts), "warning").message
    assert verdicts(check(_with(_facts(), "classifier", max_ongoing_requests=512))) == ["ok"]


def test_a_target_of_another_batch() -> None:
    facts = _facts()
    args = {**facts.declared.args, "max_batch_size": 64}
    found = one(check(replace(facts, declared=replace(facts.declared, args=args))), "warning")
    assert "target_ongoing_requests of ingress is 128, and 256 follows" in found.message


def test_more_replicas_than_lanes() -> None:
    scaling = {"max_replicas": 12, "target_ongoing_requests": 4}
    found = one(check(_with(_facts(), "classifier", autoscaling_config=scaling)), "warning")
    assert "hop_lanes" in str(found.mend)


@pytest.mark.parametrize("name", ["http_options", "grpc_options"])
def test_serve_that_hangs_up_first(name: str) -> None:
    facts = _facts()
    options: dict[str, Any] = {name: {"request_timeout_s": 20}}
    found = one(check(replace(facts, declared=replace(facts.declared, **options))), "wrong")
    assert f"of the {name} is 20" in found.message


def test_messages_too_small_for_a_batch() -> None:
    found = one(check(replace(_facts(), message_bytes={"classifier": 4 * MIB})), "wrong")
    assert "4 MiB" in found.message
    assert verdicts(check(replace(_facts(), message_bytes={"classifier": 64 * MIB}))) == ["ok"]


def test_grpc_requests_too_small() -> None:
    found = one(check(replace(_facts(), grpc_bytes={"ingress": 4 * MIB})), "wrong")
    assert "gRPC requests of 4 MiB" in found.message


def test_an_edge_of_another_batch() -> None:
    found = one(check(replace(_facts(), edge_requests=64)), "warning")
    assert "DERMSERVE_EDGE_REQUESTS=512" in str(found.mend)
    assert verdicts(check(replace(_facts(), edge_requests=512))) == ["ok"]
