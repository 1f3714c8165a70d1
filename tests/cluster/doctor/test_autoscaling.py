"""Deployments without an autoscaling_config."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.doctor.autoscaling import AutoscalingFacts, check
from tests.cluster.doctor.found import one, verdicts


def _check(scaling: dict[str, Any] | None) -> Any:
    return check(AutoscalingFacts("the running server", {"classifier": scaling}))


def test_one_that_has_it() -> None:
    assert verdicts(_check({"min_replicas": 1, "max_replicas": 4})) == ["ok"]


def test_one_that_lacks_it() -> None:
    found = one(_check(None), "wrong")
    assert "No autoscaling_config: classifier." in found.message
    assert "serve_config.yaml" in str(found.mend)


@pytest.mark.parametrize("bounds", [(0, 1), (3, 2)])
def test_bounds_that_cannot_be(bounds: tuple[int, int]) -> None:
    least, most = bounds
    assert one(_check({"min_replicas": least, "max_replicas": most}), "wrong")


def test_no_deployment() -> None:
    assert verdicts(check(AutoscalingFacts("a file", {}))) == ["not checked"]
