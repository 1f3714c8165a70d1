"""Kills: each part of a server ended with SIGKILL, the rest left to itself."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import BUSY, PLAIN, REQUESTS_PER_S, Traffic

_REPLICA = "ray::ServeReplica:"


@dataclass(frozen=True)
class Part:
    """What can be killed.

    Args:
        title: pattern of how its process is called.
        probe: whether it works.
        route, requests_per_s, plain: of the traffic.
    """

    title: str
    probe: Callable[[Ground], bool]
    route: str = "/predict"
    requests_per_s: float = REQUESTS_PER_S
    plain: int = PLAIN


PARTS = {
    "ingress": Part(f"{_REPLICA}dermserve:ingress", Ground.predicts, plain=BUSY),
    "preprocessor": Part(f"{_REPLICA}dermserve:preprocessor", Ground.predicts, plain=BUSY),
    "classifier": Part(f"{_REPLICA}dermserve:classifier", Ground.predicts, plain=BUSY),
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
    traffic = Traffic(ground.url, part.route, part.requests_per_s, part.plain)
    fault = f"kill -9 of the {name}"
    return outcome(f"kill-{name}", fault, ground, lambda _: kill_all(ground, [name]), traffic)


def kill_all(ground: Ground, names: Sequence[str]) -> float:
    """Kill some parts at once, and wait until all of them are whole again.

    Returns:
        Seconds that it took.

    Raises:
        LoadFailed: if they do not come back.
    """
    before = {name: ground.kill(PARTS[name].title) for name in names}
    began = time.monotonic()
    for name, killed in before.items():
        part = PARTS[name]
        ground.whole(killed, part.title, functools.partial(part.probe, ground))
    return time.monotonic() - began
