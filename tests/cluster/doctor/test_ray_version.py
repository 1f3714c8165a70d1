"""Ray's version against its bounds."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from cluster.doctor.ray_version import RayVersionFacts, check, gather
from cluster.doctor.surroundings import look_around
from tests.cluster.doctor.found import one, verdicts
from tests.conftest import PROJECT, free_port

BOUNDS = ">=2.60,<2.61"


@pytest.mark.parametrize("running", [None, "2.60.0"])
def test_within(running: str | None) -> None:
    assert verdicts(check(RayVersionFacts(BOUNDS, "2.60.0", running))) == ["ok"]


@pytest.mark.parametrize("installed", ["2.59.1", "2.61.0"])
def test_outside(installed: str) -> None:
    assert BOUNDS in one(check(RayVersionFacts(BOUNDS, installed, None)), "wrong").message


def test_not_installed() -> None:
    assert "make install" in str(one(check(RayVersionFacts(BOUNDS, None, None)), "wrong").mend)


def test_another_one_runs() -> None:
    found = one(check(RayVersionFacts(BOUNDS, "2.60.0", "2.60.1")), "wrong")
    assert "2.60.1" in found.message


def test_what_is_installed_here() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    facts = gather(look_around(Path(PROJECT / "serve_config.yaml"), url, None))
    assert facts.installed == version("ray")
    assert facts.bounds
    assert verdicts(check(facts)) == ["ok"]
