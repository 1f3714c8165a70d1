"""CPUs and GPUs against the replicas that are to run on them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster.doctor.cgroup import allowance_of
from cluster.doctor.finding import Finding, continued, not_checked, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen

_BUSY = ("preprocessor", "classifier")
"""Deployments whose replicas keep as many cores busy as `threads` says."""
_MORE = "Add a node, or lower min_replicas or the CPUs that replicas reserve (classifier_cpus)."


@dataclass(frozen=True)
class Demand:
    """What a deployment reserves of a resource."""

    name: str
    cpus: float
    """Of each replica."""
    gpus: float
    least: int
    """Replicas at least."""
    most: int
    wanted: int
    """Replicas that Serve wants now."""
    running: int
    running_here: int
    """Largest number of its replicas on one node."""


@dataclass(frozen=True)
class CpuFacts:
    """Supply and demand."""

    cores: float
    """That processes of this machine may use."""
    ray_cpus: float | None
    """Logical CPUs of the cluster; None if no cluster was asked."""
    ray_gpus: float
    nodes: int
    """Machines of the cluster: several nodes on one share its cores."""
    threads: int
    """Of each replica; 0 takes all cores."""
    demands: tuple[Demand, ...]


def gather(surroundings: Surroundings) -> CpuFacts:
    """From the system, and from what Serve says of every deployment."""
    affinity = len(os.sched_getaffinity(0))
    serve = surroundings.serve
    quota = allowance_of(surroundings.raylet).cpus
    threads = surroundings.declared.args.get("threads")
    demands: tuple[Demand, ...] = ()
    if not isinstance(serve, Unseen):
        applications = serve.details["applications"].values()
        deployments = [item for each in applications for item in each["deployments"].items()]
        demands = tuple(_demand(name, each) for name, each in deployments)
    return CpuFacts(
        cores=affinity if quota is None else min(affinity, quota),
        ray_cpus=None if isinstance(serve, Unseen) else sum(each.cpus for each in serve.nodes),
        ray_gpus=sum(each.gpus for each in surroundings.nodes),
        nodes=surroundings.machines,
        threads=threads if isinstance(threads, int) else 0,
        demands=demands,
    )


def check(facts: CpuFacts) -> list[Finding]:
    """Hold what replicas reserve and use against what there is."""
    found = []
    if facts.cores < 2:
        found.append(
            warning(
                f"{facts.cores:g} cores may be used here; decoding and the network share them with "
                "HTTP.",
                "Give the server two cores at least.",
            )
        )
    if facts.ray_cpus is None:
        said = f"{facts.cores:g} cores may be used here."
        return [
            *(found or [ok(said)]),
            not_checked("What replicas reserve is not known: no cluster was asked."),
        ]
    found += _reserved(facts, facts.ray_cpus)
    found += _waiting(facts.demands)
    found += _crowded(facts)
    if facts.nodes == 1 and facts.ray_cpus > 2 * max(facts.cores, 1):
        found.append(
            warning(
                f"Ray hands out {facts.ray_cpus:g} CPUs, and {facts.cores:g} cores may be used "
                "here: replicas will wait for each other.",
                "Start Ray with --num-cpus of the cores that its control group may use.",
            )
        )
    least = sum(each.cpus * each.least for each in facts.demands)
    most = sum(each.cpus * each.most for each in facts.demands)
    running = sum(each.running for each in facts.demands)
    return found or [
        ok(
            f"{running} replicas run. They reserve {least:g} CPUs at least and {most:g} at most, "
            f"of Ray's {facts.ray_cpus:g}."
        )
    ]


def _reserved(facts: CpuFacts, ray_cpus: float) -> Iterable[Finding]:
    for what, least, there in (
        ("CPUs", sum(each.cpus * each.least for each in facts.demands), ray_cpus),
        ("GPUs", sum(each.gpus * each.least for each in facts.demands), facts.ray_gpus),
    ):
        if least > there + 1e-6:
            yield wrong(
                f"The fewest replicas reserve {least:g} {what}, and Ray has {there:g}: some never "
                "start.",
                _MORE,
            )


def _waiting(demands: tuple[Demand, ...]) -> Iterable[Finding]:
    for each in demands:
        if each.running < each.wanted:
            yield warning(
                f"{each.name} has {each.running} of the {each.wanted} replicas that Serve wants.",
                "Wait if it was just deployed. If it stays so, there is no room: "
                f"{continued(_MORE)}",
            )


def _crowded(facts: CpuFacts) -> Iterable[Finding]:
    for each in facts.demands:
        if each.name in _BUSY and each.running_here > 1:
            busy = each.running_here * (facts.threads or facts.cores)
            if busy > 2 * facts.cores:
                yield warning(
                    f"{each.running_here} replicas of {each.name} on one node keep {busy:g} cores "
                    f"busy, and {facts.cores:g} are here: they wait for each other.",
                    "Set `threads: 2` in the args, as configs/cluster.yaml does, or max_replicas "
                    "to 1.",
                )


def _demand(name: str, deployment: dict[str, Any]) -> Demand:
    config = deployment["deployment_config"]
    scaling = config.get("autoscaling_config") or {}
    fixed = deployment.get("target_num_replicas", 1)
    resources = deployment.get("required_resources") or {}
    running = [each for each in deployment["replicas"] if each["state"] == "RUNNING"]
    nodes = [each.get("node_id") for each in running]
    return Demand(
        name=name,
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        least=scaling.get("min_replicas", fixed),
        most=scaling.get("max_replicas", fixed),
        wanted=fixed,
        running=len(running),
        running_here=max((nodes.count(each) for each in nodes), default=0),
    )


SUBJECT = Subject("CPUs", gather, check)
