"""Kills: each part of a server ended with SIGKILL, the rest left to itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import Traffic

_REPLICA = "ray::ServeReplica:"


@dataclass(frozen=True)
class Part:
    """What can be killed.

    Args:
        title: pattern of how its process is called.
        probe: whether it works.
        route, requests_per_s: of the traffic.
    """

    title: str
    probe: Callable[[Ground], bool]
    route: str = "/predict"
    requests_per_s: float = 5.0


PARTS = {
    "ingress": Part(f"{_REPLICA}dermserve:ingress", Ground.predicts),
    "preprocessor": Part(f"{_REPLICA}dermserve:preprocessor", Ground.predicts),
    "classifier": Part(f"{_REPLICA}dermserve:classifier", Ground.predicts),
    "explainer": Part(f"{_REPLICA}dermserve:explainer", Ground.explains, "/explain", 0.5),
    "archive": Part(f"{_REPLICA}dermserve:archive", Ground.lists_uploads),
    "trainer": Part(f"{_REPLICA}trainer:trainer", Ground.trains),
    "controller": Part("ray::ServeController", Ground.serves),
    "haproxy": Part(r"\S*/haproxy -db", Ground.predicts),
    "haproxy-manager": Part("ray::HAProxyManager", Ground.predicts),
    "fallback-proxy": Part("ray::ProxyActor", Ground.serves),
}
"""By name. Each comes back while the others go on."""


def kill(ground: Ground, name: str) -> Outcome:
    """Kill a part that stands in `PARTS`."""
    part = PARTS[name]

    def make(traffic: Traffic) -> float:
        return ground.whole(ground.kill(part.title), part.title, lambda: part.probe(ground))

    traffic = Traffic(ground.url, part.route, part.requests_per_s)
    return outcome(f"kill-{name}", f"kill -9 of the {name}", ground, make, traffic)
