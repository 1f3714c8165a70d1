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


def kill_node(ground: Ground, name: str) -> Outcome:
    """Kill one of Ray's processes, and wait for the server that follows.

    Args:
        ground: the server.
        name: in `TITLES`.
    """

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
