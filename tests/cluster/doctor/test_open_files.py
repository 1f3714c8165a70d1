"""The limit of open files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.doctor.open_files import OpenFileFacts, check
from tests.cluster.doctor.found import one, verdicts

PLENTY = OpenFileFacts(
    hard=1_048_576, processes={"haproxy": 65_536, "ingress": 65_536}, maxconn=4096
)


def test_plenty() -> None:
    assert verdicts(check(PLENTY)) == ["ok"]
    assert "at least 65536" in check(PLENTY)[0].message


@pytest.mark.parametrize(("limit", "verdict"), [(512, "wrong"), (4096, "warning")])
def test_too_few_of_a_replica(limit: int, verdict: str) -> None:
    facts = replace(PLENTY, processes={"ingress": limit})
    assert verdicts(check(facts)) == [verdict]
    assert "LimitNOFILE" in str(check(facts)[0].mend)


def test_haproxy_needs_two_for_each_connection() -> None:
    assert "haproxy" in one(check(replace(PLENTY, processes={"haproxy": 8192})), "warning").message
    assert verdicts(check(replace(PLENTY, processes={"haproxy": 8192}, maxconn=1000))) == ["ok"]


def test_before_a_server_runs() -> None:
    assert verdicts(check(replace(PLENTY, processes={}))) == ["ok"]
    assert verdicts(check(replace(PLENTY, processes={}, hard=1000))) == ["wrong"]


def test_no_limit() -> None:
    assert "any number of" in one(check(replace(PLENTY, processes={}, hard=-1)), "ok").message
