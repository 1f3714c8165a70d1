"""Memory that is left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.doctor.cgroup import Allowance
from cluster.doctor.memory import GIB, MemoryFacts, check
from tests.cluster.doctor.found import one, verdicts

PLENTY = MemoryFacts(
    total_bytes=16 * GIB,
    available_bytes=8 * GIB,
    allowance=Allowance(),
    server_bytes=2 * GIB,
    threshold=0.95,
)


def test_plenty() -> None:
    assert verdicts(check(PLENTY)) == ["ok"]
    assert "the server has 2.0" in check(PLENTY)[0].message


@pytest.mark.parametrize(
    ("available", "running", "verdict"),
    [(2.0, True, "ok"), (2.0, False, "warning"), (0.9, True, "warning"), (0.5, True, "wrong")],
)
def test_little(available: float, running: bool, verdict: str) -> None:
    facts = replace(
        PLENTY,
        available_bytes=int(available * GIB),
        server_bytes=GIB if running else None,
    )
    assert verdicts(check(facts)) == [verdict]


def test_a_limit_that_the_machine_does_not_show() -> None:
    facts = replace(PLENTY, allowance=Allowance(4 * GIB, int(3.9 * GIB), None))
    assert "control group" in one(check(facts), "wrong").message


def test_a_limit_above_the_machine_is_none() -> None:
    facts = replace(PLENTY, allowance=Allowance(64 * GIB, GIB, None))
    assert "this machine" in one(check(facts), "ok").message


def test_the_operators_own_threshold() -> None:
    facts = replace(PLENTY, threshold=0.5)
    assert "50%" in one(check(facts), "wrong").message
