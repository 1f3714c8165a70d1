"""Ray's own processes: where one of them dies, the node dies, and `dermserve up` starts anew."""

from __future__ import annotations

import time

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.traffic import Traffic

TITLES = {
    "agent": "ray::DashboardAgent",
    "raylet": r"\S*/raylet/raylet ",
    "gcs": r"\S*/gcs/gcs_server ",
}


_SETTLED_S = 61.0
"""Where Ray ends sooner after its start, `dermserve up` takes it for broken, and ends too."""


def kill_node(ground: Ground, name: str) -> Outcome:
    """Kill one of Ray's processes, and wait for the server that follows.

    Args:
        ground: the server.
        name: in `TITLES`.
    """

    _settle(ground)

    def make(traffic: Traffic) -> float:
        before = ground.processes(TITLES["raylet"])
        began = time.monotonic()
        ground.kill(TITLES[name])
        ground.whole(before, TITLES["raylet"], ground.predicts)
        return time.monotonic() - began

    return outcome(
        f"kill-{name}",
        f"kill -9 of Ray's {name}",
        ground,
        make,
        note=lambda: "dermserve up started again",
    )


def _settle(ground: Ground) -> None:
    """Wait until `dermserve up` would start Ray again."""
    started = max(ground.processes(TITLES["raylet"]).values(), default=0.0)
    time.sleep(max(0.0, started + _SETTLED_S - time.time()))
