"""A subject: what cannot be looked at is never taken for health."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.doctor.finding import Finding, ok
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen, seen


@pytest.fixture
def surroundings() -> Surroundings:
    nothing = Unseen("No server answers.")
    return Surroundings(
        Path("serve_config.yaml"),
        {"applications": []},
        "http://127.0.0.1:1",
        False,
        {},
        nothing,
        nothing,
        nothing,
    )


def _judge(facts: Any) -> list[Finding]:
    return [ok(f"saw {facts}")]


def test_facts_are_judged(surroundings: Surroundings) -> None:
    assert Subject("a", lambda _: 3, _judge).examine(surroundings) == [ok("saw 3")]


def test_what_is_unseen_is_not_checked(surroundings: Surroundings) -> None:
    def gather(surroundings: Surroundings) -> object:
        return seen(surroundings.processes)

    (finding,) = Subject("a", gather, _judge).examine(surroundings)
    assert (finding.verdict, finding.message) == ("not checked", "No server answers.")


def test_a_look_that_fails_is_not_checked(surroundings: Surroundings) -> None:
    def gather(surroundings: Surroundings) -> int:
        raise PermissionError("not yours")

    (finding,) = Subject("a", gather, _judge).examine(surroundings)
    assert finding.verdict == "not checked"
    assert "PermissionError: not yours" in finding.message
