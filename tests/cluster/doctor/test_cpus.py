"""CPUs against replicas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cluster.doctor.cpus import CpuFacts, Demand, check, gather
from cluster.doctor.serve_state import ServeState
from tests.cluster.doctor.conftest import Place
from tests.cluster.doctor.found import one, verdicts

CLASSIFIER = Demand(
    "classifier", cpus=0.5, gpus=0, least=1, most=4, wanted=1, running=1, running_here=1
)
FITS = CpuFacts(cores=4, ray_cpus=4, ray_gpus=0, nodes=1, threads=0, demands=(CLASSIFIER,))


def test_what_fits() -> None:
    assert verdicts(check(FITS)) == ["ok"]
    assert "0.5 CPUs at least and 2 at most" in check(FITS)[0].message


def test_no_cluster() -> None:
    assert verdicts(check(replace(FITS, ray_cpus=None, demands=()))) == ["ok", "not checked"]


def test_one_core() -> None:
    assert "1 cores" in one(check(replace(FITS, cores=1, ray_cpus=2)), "warning").message


def test_replicas_that_never_start() -> None:
    facts = replace(FITS, demands=(replace(CLASSIFIER, cpus=8),))
    assert "reserve 8 CPUs" in one(check(facts), "wrong").message


def test_gpus_that_are_not_there() -> None:
    facts = replace(FITS, demands=(replace(CLASSIFIER, gpus=1),))
    assert "reserve 1 GPUs" in one(check(facts), "wrong").message
    assert verdicts(check(replace(facts, ray_gpus=1))) == ["ok"]


def test_replicas_that_wait() -> None:
    facts = replace(FITS, demands=(replace(CLASSIFIER, wanted=3),))
    assert "1 of the 3 replicas" in one(check(facts), "warning").message


def test_replicas_that_share_cores() -> None:
    crowd = replace(CLASSIFIER, wanted=3, running=3, running_here=3)
    found = one(check(replace(FITS, demands=(crowd,))), "warning")
    assert "keep 12 cores busy, and 4 are here" in found.message
    assert verdicts(check(replace(FITS, threads=2, demands=(crowd,)))) == ["ok"]


def test_more_cpus_promised_than_there_are() -> None:
    found = one(check(replace(FITS, cores=2, ray_cpus=64)), "warning")
    assert "--num-cpus" in str(found.mend)
    assert verdicts(check(replace(FITS, cores=2, ray_cpus=64, nodes=16))) == ["ok"]


def test_nodes_on_one_machine_share_its_cores(place: Place) -> None:
    seen = place(nodes=2)
    assert seen.machines == 2
    assert isinstance(seen.serve, ServeState)
    nodes = tuple(replace(each, ip="10.0.0.1", cpus=500) for each in seen.serve.nodes)
    details: dict[str, Any] = {"applications": {}}
    facts = gather(replace(seen, serve=replace(seen.serve, nodes=nodes, details=details)))
    assert (facts.nodes, facts.ray_cpus) == (1, 1000)
    assert "Ray hands out 1000 CPUs" in check(facts)[-1].message
